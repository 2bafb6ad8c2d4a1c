//! `cargo demo`: an attack on a whole AWS organization, on this computer, and Cordon's answer.

use std::{io::Write as _, process::ExitCode};

use cordon_lab::demo::{Options, interrupted, run};

const HELP: &str = "An attack on a whole AWS organization, on this computer, and Cordon's answer.

Usage: cargo demo [--keep]

  --keep  let the lab and the service go on until Ctrl-C, to be looked at from another terminal
";

fn main() -> ExitCode {
    let mut options = Options::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => options.keep = true,
            // `cargo demo -- --keep` hands on the dashes of both.
            "--" => {}
            "-h" | "--help" => {
                write!(std::io::stdout(), "{HELP}").ok();
                return ExitCode::SUCCESS;
            }
            other => return fail(2, &format!("there is no `{other}`\n\n{HELP}")),
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error.to_string()),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = run(options) => Some(result),
            () = interrupted(), if !options.keep => None,
        }
    });
    match result {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(error)) => fail(1, &error.to_string()),
        None => fail(130, "interrupted; everything is stopped"),
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    writeln!(std::io::stderr(), "cordon-demo: {text}").ok();
    ExitCode::from(code)
}
