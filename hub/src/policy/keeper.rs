//! The policies in force, and the look after their folder: a sound set takes the place of the last one, a broken one does not.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use cedar_policy::Schema;
use cordon_spoke::action::Registry;

use super::{LoadError, Policies, load};

/// Holds the policies in force.
#[derive(Debug)]
pub struct Keeper {
    folder: Option<PathBuf>,
    schema: Arc<Schema>,
    now: RwLock<Arc<Policies>>,
    /// What was last seen in the folder, sound or not.
    seen: Mutex<String>,
}

impl Keeper {
    /// Reads the built-in policies and those of the folder.
    ///
    /// # Errors
    /// [`LoadError`]: everything that is wrong with them.
    pub fn load(folder: Option<&Path>, registry: &Registry) -> Result<Self, LoadError> {
        let schema = load::schema(registry)?;
        let policies = load::read(&load::texts(folder)?, &schema)?;
        let seen = Mutex::new(policies.digest.clone());
        Ok(Self { folder: folder.map(Path::to_owned), schema, now: RwLock::new(Arc::new(policies)), seen })
    }

    /// The policies in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<Policies> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is a folder to look after.
    #[must_use]
    pub fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Looks at the folder again. `None`: nothing has changed since the last look. A sound set is in force from now on; of a broken one it is
    /// said once what is wrong, and the last sound one stays in force.
    pub fn look(&self) -> Option<Result<Arc<Policies>, LoadError>> {
        let texts = load::texts(self.folder.as_deref());
        let there = match &texts {
            Ok(texts) => load::digest(texts),
            Err(error) => error.to_string(),
        };
        if std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), there.clone()) == there {
            return None;
        }
        let read = texts.and_then(|texts| load::read(&texts, &self.schema)).map(Arc::new);
        if let Ok(policies) = &read {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(policies);
        }
        Some(read)
    }
}
