//! The process: hands the command line to the library and its answer to the caller.

fn main() -> std::process::ExitCode {
    roma_archived::cli::main().into()
}
