//! A clock that can be set, for one program: the time of day that it reads is moved by a library that is loaded before the C library
//! (`LD_PRELOAD`), made with the C compiler that the project is built with anyway.

use std::{fs, path::PathBuf, process::Command};

use crate::{Cordon, LabError};

const SOURCE: &str = include_str!("../c/clock.c");

/// The clock of the programs that were started with it.
#[derive(Debug)]
pub struct MovedClock {
    library: PathBuf,
    file: PathBuf,
    /// Both are in it.
    _folder: tempfile::TempDir,
}

impl MovedClock {
    /// One that tells the right time.
    ///
    /// # Errors
    /// When there is no C compiler, or it fails.
    pub fn new() -> Result<Self, LabError> {
        let wrong = |error: std::io::Error| LabError::new(format!("the lab's clock: {error}"));
        let folder = tempfile::Builder::new().prefix("cordon-lab-clock-").tempdir().map_err(wrong)?;
        let (source, library, file) = (folder.path().join("clock.c"), folder.path().join("clock.so"), folder.path().join("seconds"));
        fs::write(&source, SOURCE).map_err(wrong)?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let made = Command::new(&compiler).args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").output();
        let made = made.map_err(|error| LabError::new(format!("the lab's clock needs the C compiler `{compiler}`: {error}")))?;
        if !made.status.success() {
            return Err(LabError::new(format!("`{compiler}` cannot make the lab's clock:\n{}", String::from_utf8_lossy(&made.stderr))));
        }
        let clock = Self { library, file, _folder: folder };
        clock.set(0)?;
        Ok(clock)
    }

    /// Moves it: so many seconds from the right time, backwards where negative.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(&self, seconds: i64) -> Result<(), LabError> {
        // Whole or not at all: the program reads it all the time.
        let making = self.file.with_extension("making");
        fs::write(&making, seconds.to_string())
            .and_then(|()| fs::rename(&making, &self.file))
            .map_err(|error| LabError::new(format!("the lab's clock: {error}")))
    }

    /// A command that goes by this clock.
    #[must_use]
    pub fn on(&self, cordon: &Cordon) -> Cordon {
        let (library, file) = (self.library.display().to_string(), self.file.display().to_string());
        cordon.clone().with("LD_PRELOAD", &library).with("CORDON_LAB_CLOCK", &file)
    }
}
