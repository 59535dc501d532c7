//! JSON texts, read so that nothing of them gets lost: a text of which a value could not hold
//! everything is refused, and whoever asked compares its bytes instead.
//!
//! Refused are a name that comes twice in one object, a whole number beyond 64 bits, nesting deeper
//! than 128, and what is no JSON. Never holds more than the text it was given and its value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// From here on not every whole number has a value of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The object or array that this text is; `None`: it is none, or not all of it would be kept.
pub fn parse(text: &[u8]) -> Option<Value> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
        return None;
    }
    serde_json::from_slice::<Exact>(text).ok().map(|exact| exact.0)
}

/// A value that holds all of its text but white space and the order of names.
struct Exact(Value);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExactVisitor).map(Self)
    }
}

struct ExactVisitor;

impl<'de> Visitor<'de> for ExactVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).filter(|_| value.abs() < EXACT);
        number.map(Value::Number).ok_or_else(|| E::custom("a number that does not fit"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Exact(element)) = sequence.next_element()? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Exact(value))) = object.next_entry::<String, Exact>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a name that comes twice"));
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lose_something_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1,"a":1}}]"#,
            "[12345678901234567890123]",
            "[1e300]",
            "",
            "7",
            "\"text\"",
            "{",
            "[1] [2]",
            "nothing",
            "[\"\\ud800\"]",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse("[".repeat(200).as_bytes()), None);
        assert_eq!(parse(b"[\"\xff\"]"), None);
    }

    #[test]
    fn everything_else_is_read_as_by_everybody() {
        for text in [
            "{}",
            " [] ",
            r#"{"a":[1,-2,0.5,18446744073709551615,-9223372036854775808],"b":{"c":null,"d":true}}"#,
            "[\"\\u0000\\ud83d\\ude00 \u{e4}\"]",
        ] {
            assert_eq!(parse(text.as_bytes()), serde_json::from_str(text).ok(), "{text}");
        }
        assert_eq!(parse(b"\xef\xbb\xbf[1]"), serde_json::from_str("[1]").ok());
    }
}
