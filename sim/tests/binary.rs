//! The program on its own: what it prints first is what a script relies on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn the_first_line_is_the_address_and_the_config_is_obeyed() {
    let folder = std::env::temp_dir().join(format!("roma-sim-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (config, port_file) = (folder.join("sim.toml"), folder.join("port"));
    let text = "seed = 3\n[knobs]\nvintage = \"v2022\"\n\
                [[instances]]\nproject_id = \"p\"\ninstance_id = \"i\"\nname = \"n\"\n\
                apps = 1\ntasks = 1\n\
                [[faults]]\nendpoint = \"token\"\nfault = { status = { code = 503 } }\n";
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_roma-sim"))
        .args(["--jobs", "2", "--config"])
        .arg(&config)
        .arg("--port-file")
        .arg(&port_file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("listening on http://").unwrap();
    let port = std::fs::read_to_string(&port_file).unwrap();
    assert!(address.ends_with(&format!(":{}", port.trim())));
    let jobs = lines.map_while(Result::ok).filter(|line| line.starts_with("job "));
    assert_eq!(jobs.take(2).count(), 2);
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /admin/knobs HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"vintage\":\"v2022\""), "{answer}");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
