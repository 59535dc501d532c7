//! No secret gets through, wherever it stands; and what is none stays readable.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn names_of_secrets_are_known_in_any_spelling() {
    for name in [
        "password",
        "DB_PASSWORD",
        "userPwd",
        "app_secret",
        "appSecret",
        "app-key",
        "X-Auth-Token",
        "accessToken",
        "private_key",
        "AK",
        "sk",
        "db.sk",
        "Authorization",
        "credentials",
        "userPass",
        "Set-Cookie",
        "app_code",
        "appcodes",
        "signature",
        "salt",
        "priv_key",
        "client_key",
        "hmac_key",
        "masterKeys",
        "key_pem",
        "AccountKey",
    ] {
        assert!(is_secret(name), "{name}");
    }
    for name in [
        "name",
        "auth_type",
        "task",
        "key",
        "author",
        "bypass",
        "risk",
        "id",
        "desk",
        "primary_key",
        "api_key_name",
        "sortKey",
        "keyword",
        "code",
    ] {
        assert!(!is_secret(name), "{name}");
    }
}

#[test]
fn texts_lose_their_secrets_and_keep_the_rest() {
    for (text, clean) in [
        ("plain text: nothing = here", "plain text: nothing = here"),
        ("https://host:8443/a/@b?x=1", "https://host:8443/a/@b?x=1"),
        ("https://u:p@host/a", "https://***@host/a"),
        ("redis://:p/q@host", "redis://***@host"),
        ("a https://u:p@h b http://x@i/", "a https://***@h b http://***@i/"),
        ("https://h/?token=abc&x=1", "https://h/?token=***&x=1"),
        ("jdbc:mysql://h/d?user=u;password=p", "jdbc:mysql://h/d?user=u;password=***"),
        ("password: \"a b\" user: u", "password: ***"),
        ("\"secret\" : 'it\\'s', rest", "\"secret\" : ***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("send Basic dXNlcjpw here", "send Basic ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "***"),
        ("{\"password\":\"x\",\"a\":1}", "{\"a\":1,\"password\":\"***\"}"),
        ("the token", "the token"),
        ("\u{e4}password=\u{20ac}x \u{1f600}\nmore", "\u{e4}password=***\nmore"),
    ] {
        assert_eq!(scrub(text), clean, "{text}");
    }
}

/// The ways in which an unkind reader got secrets out of an earlier make of this.
#[test]
fn secrets_are_hidden_however_they_stand_in_a_text() {
    for text in [
        "jdbc:oracle:thin:scott/GEHEIM@db:1521:orcl",
        "<soap><Password>GEHEIM</Password></soap>",
        "<Password kind=\"plain\">\nGEHEIM\n</Password>",
        "<param name=\"password\" value=\"GEHEIM\"/>",
        "db.password\t=\t GEHEIM",
        "password:\n  - GEHEIM\n",
        "password = \"one\nGEHEIM\"",
        "Authorization: Token GEHEIM",
        "Authorization: ApiKey GEHEIM",
        "proxy-authorization = Basic\tGEHEIM",
        "Cookie: lang=en; SESSION=GEHEIM",
        "Authorization: SDK-HMAC-SHA256 Access=AKX, SignedHeaders=host, Signature=GEHEIM",
        "mysql --user x --password GEHEIM db",
        "curl -u admin:GEHEIM http://h/",
        "x = {\"password\": [\"GEHEIM\"]}",
        "x = {\"password\": {\"v\":\n\"GEHEIM\"}}",
        "password: correct GEHEIM staple",
        "https%3A%2F%2Fuser%3AGEHEIM%40host",
        "user:GEHEIM@host:3306/db",
        "AccountName=x;AccountKey=GEHEIM;E=1",
        "https://b.obs/x?Signature=GEHEIM&Expires=1",
        "https://GEHEIM@host/",
        "pass\u{200b}word=GEHEIM",
        "\u{5bc6}\u{7801}\u{ff1a}GEHEIM",
        "cfg/a?token=GEHEIM.json",
    ] {
        let clean = scrub(text);
        assert!(!clean.contains("GEHEIM") && clean.contains(HIDDEN), "{clean}");
    }
}

#[test]
fn a_field_that_says_secret_hides_its_neighbours() {
    for value in [
        json!({"type": "password", "anything": "GEHEIM"}),
        json!({"id": "password", "value": "GEHEIM"}),
        json!({"k": "password", "v": "GEHEIM"}),
        json!({"name": "password", "config": {"deep": ["GEHEIM"]}}),
        json!({"argv": ["--password", "GEHEIM"]}),
        json!({"argv": ["curl", "-u", "GEHEIM"]}),
        json!({"appcodes": [{"code": "GEHEIM"}]}),
    ] {
        let shown = Shown::of(&value).as_value().to_string();
        assert!(!shown.contains("GEHEIM") && shown.contains(HIDDEN), "{shown}");
    }
}

#[test]
fn a_word_of_very_many_urls_is_read_once() {
    let text = "a://".repeat(300_000);
    assert_eq!(scrub(&text), text);
    let masked = scrub(&format!("{text}u:x/y@host"));
    assert_eq!(masked, format!("{text}***@host"));
}

#[test]
fn a_neighbour_can_say_that_a_value_is_a_secret() {
    let value = json!([
        {"name": "db.password", "value": "x", "required": true},
        {"name": "limit", "value": "5"},
        {"header_name": "Authorization", "defaultValue": "y", "location": "HEADER"},
    ]);
    let expected = json!([
        {"name": "db.password", "value": "***", "required": true},
        {"name": "limit", "value": "5"},
        {"header_name": "Authorization", "defaultValue": "***", "location": "***"},
    ]);
    assert_eq!(Shown::of(&value).as_value(), &expected);
}

#[test]
fn that_there_is_no_secret_may_be_seen() {
    let value = json!({"password": null, "secret": "", "token": false, "pwd": 0, "sk": ["a"]});
    let expected =
        json!({"password": null, "secret": "", "token": false, "pwd": "***", "sk": "***"});
    assert_eq!(Shown::of(&value).as_value(), &expected);
}

/// A value with this secret somewhere in it, in one of the ways in which secrets come.
pub(in crate::contents) fn with_secret(secret: &str) -> impl Strategy<Value = Value> + use<> {
    let name = prop::sample::select(vec![
        "password",
        "appSecret",
        "x-auth-token",
        "SK",
        "db_pwd",
        "privateKey",
        "Authorization",
    ]);
    let secret = secret.to_owned();
    let carrier = (0..9_u8, name).prop_map(move |(way, name)| match way {
        0 => json!({name: secret}),
        1 => json!({name: {"a": [{"b": secret}]}}),
        2 => json!({name: [secret, 1]}),
        3 => json!({"name": name, "value": secret}),
        4 => json!({"url": format!("https://user:{secret}@host:80/path?q=1")}),
        5 => json!({"url": format!("jdbc:x://host/db?a=1&{name}={secret}&b=2")}),
        6 => json!({"text": format!("{name}: \"{secret}\", more")}),
        7 => json!({"header": format!("Bearer {secret}")}),
        _ => json!({"embedded": json!({"deep": json!({name: secret}).to_string()}).to_string()}),
    });
    let around = prop::collection::vec(0..3_u8, 0..4);
    (carrier, around).prop_map(|(value, around)| {
        around.into_iter().fold(value, |value, way| match way {
            0 => json!([1, value]),
            1 => json!({"name": "x", "inner": value}),
            _ => json!({"apps": [{"id": "1", "conf": value}]}),
        })
    })
}

proptest! {
    #[test]
    fn no_secret_is_shown(
        (secret, value) in "[A-Za-z0-9_.$!+-]{6,20}".prop_flat_map(|secret| {
            let value = with_secret(&secret);
            (Just(secret), value)
        }),
    ) {
        let shown = serde_json::to_string(&Shown::of(&value)).unwrap();
        prop_assert!(!shown.contains(&secret), "{} of {}", shown, value);
        prop_assert!(shown.contains(HIDDEN), "{} of {}", shown, value);
    }

    #[test]
    fn any_text_can_be_scrubbed_and_scrubbed_again(text in "\\PC*", tail in "[:=\"'\\\\ @/]{0,8}") {
        for text in [text.clone(), format!("password{tail}{text}"), format!("://{text}@{tail}")] {
            let once = scrub(&text);
            scrub(&once);
        }
    }

    #[test]
    fn words_lose_only_what_separates_them(name in "[A-Za-z0-9_ -]{0,20}") {
        let expected: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        prop_assert_eq!(words(&name).concat(), expected);
    }
}
