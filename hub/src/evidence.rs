//! Evidence on disk and in memory. On disk each item is a file named by the SHA-256 of its content, with a small file beside it that says
//! what it is: `evidence/ab/abcdef…` and `evidence/ab/abcdef….json`.

use std::{
    collections::VecDeque,
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_shared::{
    clock::Clock,
    evidence::{Evidence, EvidenceError, Item},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The directory in the state directory.
pub const DIR: &str = "evidence";

/// What is known of a kept item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// SHA-256 of its content, its name.
    pub sha256: String,
    /// What it is, in one word.
    pub kind: String,
    /// What it is about.
    pub about: String,
    /// The media type of its content.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was first kept.
    pub at: Timestamp,
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether a text can be the name of an item: 64 lower-case hexadecimal digits.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// SHA-256 of a file's content, read piece by piece.
pub(crate) fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => return Ok(hex::encode(sha.finalize())),
            Some(bytes) => sha.update(bytes),
        }
    }
}

/// All files below an evidence directory, sorted; none where there is no such directory. Unfinished ones are left out.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in entries(root)? {
        if folder.is_dir() {
            found.extend(entries(&folder)?);
        } else {
            found.push(folder);
        }
    }
    Ok(found)
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut paths = Vec::new();
    for entry in read {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Evidence in the state directory.
#[derive(Debug, Clone)]
pub struct FsEvidence {
    root: PathBuf,
    clock: Arc<dyn Clock>,
}

impl FsEvidence {
    /// The evidence of a state directory. Makes the directory where it is missing, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, EvidenceError> {
        let root = state_dir.join(DIR);
        make_dir(&root).map_err(|error| said(&root, &error))?;
        if let Some(parent) = root.parent() {
            sync_dir(parent).map_err(|error| said(parent, &error))?;
        }
        Ok(Self { root, clock })
    }

    /// The content of an item; `None` when it is not kept.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
        let Some(path) = path_of(&self.root, name) else { return Ok(None) };
        let name = name.to_owned();
        blocking(move || match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(said(&path, &error)),
            Ok(bytes) if sha256(&bytes) != name => {
                Err(EvidenceError(format!("{} was changed: its content is not what its name says", path.display())))
            }
            Ok(bytes) => Ok(Some(bytes)),
        })
        .await
    }

    /// What is known of an item; `None` when it is not kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn about(&self, name: &str) -> Result<Option<Kept>, EvidenceError> {
        let Some(path) = path_of(&self.root, name) else { return Ok(None) };
        blocking(move || read_kept(&beside(&path))).await
    }

    /// All items, sorted by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<Kept>, EvidenceError> {
        let root = self.root.clone();
        blocking(move || {
            let paths = files(&root).map_err(|error| said(&root, &error))?;
            let described = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
            described.map(|path| read_kept(path)).filter_map(Result::transpose).collect()
        })
        .await
    }
}

impl Evidence for FsEvidence {
    fn put(&self, item: Item) -> BoxFuture<'_, Result<String, EvidenceError>> {
        let (root, at) = (self.root.clone(), self.clock.now());
        Box::pin(blocking(move || {
            let name = sha256(&item.bytes);
            keep(&root, &name, &item, at).map_err(|error| said(&root, &error))?;
            Ok(name)
        }))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, EvidenceError> + Send + 'static) -> Result<T, EvidenceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EvidenceError(format!("the work ended early: {error}")))?
}

fn said(path: &Path, error: &io::Error) -> EvidenceError {
    EvidenceError(format!("{}: {error}", path.display()))
}

fn path_of(root: &Path, name: &str) -> Option<PathBuf> {
    is_name(name).then(|| name.get(..2)).flatten().map(|folder| root.join(folder).join(name))
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn read_kept(path: &Path) -> Result<Option<Kept>, EvidenceError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(said(path, &error)),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| EvidenceError(format!("{}: {error}", path.display()))),
    }
}

/// Keeps an item: the content first, then what it is, then the directory that names both.
fn keep(root: &Path, name: &str, item: &Item, at: Timestamp) -> io::Result<()> {
    let path = path_of(root, name).ok_or_else(|| io::Error::other("a digest that is none"))?;
    let folder = path.parent().unwrap_or(root);
    if !folder.is_dir() {
        make_dir(folder)?;
        sync_dir(root)?;
    }
    let kept_whole = match sha256_of_file(&path) {
        Ok(found) if found == name => true,
        Ok(_) => {
            tracing::error!(path = %path.display(), "evidence was changed on disk; it is written again");
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !kept_whole {
        write_whole(folder, &path, &item.bytes)?;
    }
    let beside = beside(&path);
    if !beside.exists() {
        let kept = Kept {
            sha256: name.to_owned(),
            kind: item.kind.clone(),
            about: item.about.clone(),
            media_type: item.media_type.clone(),
            bytes: u64::try_from(item.bytes.len()).unwrap_or(u64::MAX),
            at,
        };
        write_whole(folder, &beside, &serde_json::to_vec(&kept).map_err(io::Error::other)?)?;
    }
    // Also where another writer has just made the files: its rename may not be on the disk yet.
    sync_dir(folder)
}

/// Writes a file so that it is there whole or not at all. The caller syncs the directory.
fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unfinished = folder.join(format!(".{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o400);
    }
    let written = options.write(true).create_new(true).open(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let result = match written {
        // A crash of an earlier process with this number left it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&unfinished)?;
            return write_whole(folder, path, bytes);
        }
        written => written.and_then(|()| fs::rename(&unfinished, path)),
    };
    if result.is_err()
        && let Err(error) = fs::remove_file(&unfinished)
    {
        tracing::debug!(path = %unfinished.display(), %error, "an unfinished file stays");
    }
    result
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.recursive(true).create(dir)
}

/// Puts the names in a directory on the disk. Only Unix can open a directory for that; elsewhere a rename has to do.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Evidence in memory, for work that keeps nothing. When it is full the oldest items go.
#[derive(Debug)]
pub struct MemEvidence {
    most: usize,
    items: Mutex<VecDeque<(String, Item)>>,
}

impl Default for MemEvidence {
    fn default() -> Self {
        Self::bounded(64 << 20)
    }
}

impl MemEvidence {
    /// Room for `most` bytes.
    #[must_use]
    pub fn bounded(most: usize) -> Self {
        Self { most, items: Mutex::default() }
    }

    /// The content of an item; `None` when it is not kept, or not any more.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.iter().find(|(kept, _)| kept == name).map(|(_, item)| item.bytes.clone())
    }
}

impl Evidence for MemEvidence {
    fn put(&self, item: Item) -> BoxFuture<'_, Result<String, EvidenceError>> {
        let name = sha256(&item.bytes);
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if items.iter().all(|(kept, _)| *kept != name) {
            items.push_back((name.clone(), item));
            while items.iter().map(|(_, item)| item.bytes.len()).sum::<usize>() > self.most {
                items.pop_front();
            }
        }
        drop(items);
        Box::pin(futures::future::ready(Ok(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cordon_shared::clock::SystemClock;

    use super::*;
    use crate::journal::testing::TempDir;

    fn item(about: &str, bytes: &[u8]) -> Item {
        Item { kind: "note".into(), about: about.into(), media_type: "text/plain".into(), bytes: bytes.to_vec() }
    }

    #[tokio::test]
    async fn what_is_kept_twice_is_kept_once_and_reads_back() {
        let dir = TempDir::new();
        let evidence = FsEvidence::open(dir.path(), Arc::new(SystemClock)).unwrap();
        let name = evidence.put(item("first", b"hello")).await.unwrap();
        assert_eq!(evidence.put(item("second", b"hello")).await.unwrap(), name);
        assert_eq!(name, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(evidence.get(&name).await.unwrap().unwrap(), b"hello");
        assert_eq!(evidence.about(&name).await.unwrap().unwrap().about, "first");
        assert_eq!(evidence.list().await.unwrap().len(), 1);
        assert_eq!(evidence.get("../../etc/passwd").await.unwrap(), None);
        assert!(dir.path().join("evidence/2c").join(&name).is_file());
    }

    #[tokio::test]
    async fn many_writers_of_the_same_content_do_not_disturb_one_another() {
        let dir = TempDir::new();
        let evidence = FsEvidence::open(dir.path(), Arc::new(SystemClock)).unwrap();
        let puts = (0..64_u8).map(|number| evidence.put(item("x", &[number % 4; 1000])));
        let names: std::collections::BTreeSet<String> = futures::future::try_join_all(puts).await.unwrap().into_iter().collect();
        assert_eq!(names.len(), 4);
        assert_eq!(files(&dir.path().join(DIR)).unwrap().len(), 8);
    }

    #[tokio::test]
    async fn changed_content_is_not_handed_out_and_is_mended_by_keeping_it_again() {
        let dir = TempDir::new();
        let evidence = FsEvidence::open(dir.path(), Arc::new(SystemClock)).unwrap();
        let name = evidence.put(item("x", b"hello")).await.unwrap();
        let path = path_of(&dir.path().join(DIR), &name).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hullo").unwrap();
        assert!(evidence.get(&name).await.is_err());
        evidence.put(item("x", b"hello")).await.unwrap();
        assert_eq!(evidence.get(&name).await.unwrap().unwrap(), b"hello");
    }

    #[tokio::test]
    async fn memory_lets_the_oldest_go() {
        let evidence = MemEvidence::bounded(10);
        let first = evidence.put(item("x", b"12345678")).await.unwrap();
        let second = evidence.put(item("x", b"abcd")).await.unwrap();
        assert_eq!(evidence.get(&first), None);
        assert_eq!(evidence.get(&second).unwrap(), b"abcd");
        evidence.put(item("x", b"more than there is room for")).await.unwrap();
    }
}
