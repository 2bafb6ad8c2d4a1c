//! A document as a pattern sees it: leaves by name, each knowing which elements of which lists it lies in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Which element of which list something lies in: pairs of (list, element), sorted by list.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Membership(Vec<(usize, usize)>);

impl Membership {
    /// Both together; nothing if they lie in different elements of one list.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        let mut joined = self.0.clone();
        for (list, element) in &other.0 {
            match self.0.iter().find(|(known, _)| known == list) {
                Some((_, known)) if known == element => {}
                Some(_) => return None,
                None => joined.push((*list, *element)),
            }
        }
        joined.sort_unstable();
        Some(Self(joined))
    }

    /// Without the lists that are not among these.
    pub(super) fn only(&self, lists: &BTreeSet<usize>) -> Self {
        Self(self.0.iter().filter(|(list, _)| lists.contains(list)).copied().collect())
    }
}

/// A value that can match, and where it lies.
#[derive(Debug)]
pub(super) struct Leaf<'d> {
    pub(super) value: &'d Value,
    pub(super) membership: Membership,
}

#[derive(Debug)]
pub(super) struct Document<'d> {
    leaves: BTreeMap<String, Vec<Leaf<'d>>>,
}

impl<'d> Document<'d> {
    /// The leaves that these names lead to; nothing if the document is not an object.
    pub(super) fn flatten(document: &'d Value, names: &BTreeSet<&str>) -> Option<Self> {
        let mut walk = Walk { names, leaves: BTreeMap::new(), membership: Vec::new(), lists: 0 };
        document.is_object().then(|| walk.value(document, ""))?;
        Some(Self { leaves: walk.leaves })
    }

    pub(super) fn leaves(&self, name: &str) -> &[Leaf<'d>] {
        self.leaves.get(name).map_or(&[], Vec::as_slice)
    }

    /// The lists that leaves of these names lie in.
    pub(super) fn lists_of<'n>(&self, names: impl Iterator<Item = &'n str>) -> BTreeSet<usize> {
        names.flat_map(|name| self.leaves(name)).flat_map(|leaf| leaf.membership.0.iter().map(|(list, _)| *list)).collect()
    }
}

struct Walk<'d, 'n> {
    names: &'n BTreeSet<&'n str>,
    leaves: BTreeMap<String, Vec<Leaf<'d>>>,
    membership: Vec<(usize, usize)>,
    lists: usize,
}

impl<'d> Walk<'d, '_> {
    /// Whether a name is this one or leads through it.
    fn is_used(&self, name: &str) -> bool {
        let leads_on = |wanted: &&str| wanted.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.names.iter().any(leads_on)
    }

    fn value(&mut self, value: &'d Value, name: &str) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    if self.is_used(&name) {
                        self.value(value, &name);
                    }
                }
            }
            Value::Array(list) => {
                let number = self.lists;
                self.lists += 1;
                for (element, value) in list.iter().enumerate() {
                    if value.is_object() || value.is_array() {
                        self.membership.push((number, element));
                        self.value(value, name);
                        self.membership.pop();
                    } else {
                        self.value(value, name);
                    }
                }
            }
            leaf => {
                let leaf = Leaf { value: leaf, membership: Membership(self.membership.clone()) };
                self.leaves.entry(name.to_owned()).or_default().push(leaf);
            }
        }
    }
}
