//! Which step needs which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Steps by id, each with the steps it needs.
#[derive(Debug, Default)]
pub(super) struct Graph<'s> {
    needs: BTreeMap<&'s str, Vec<&'s str>>,
}

impl<'s> Graph<'s> {
    /// Adds a step; of two with one id the first counts.
    pub(super) fn add(&mut self, id: &'s str, needs: impl IntoIterator<Item = &'s str>) {
        self.needs.entry(id).or_insert_with(|| needs.into_iter().collect());
    }

    /// Everything that must have ended before `id` starts.
    pub(super) fn before(&self, id: &str) -> BTreeSet<&'s str> {
        let mut found = BTreeSet::new();
        let mut queue: VecDeque<&'s str> = self.direct(id).collect();
        while let Some(next) = queue.pop_front() {
            if found.insert(next) {
                queue.extend(self.direct(next));
            }
        }
        found
    }

    /// Cycles, so many that each step on any is on one of them: the steps along it, beginning and ending with the same one.
    pub(super) fn cycles(&self) -> Vec<Vec<&'s str>> {
        let mut cycles = Vec::new();
        let mut seen = BTreeSet::new();
        for id in self.needs.keys() {
            if !seen.contains(id)
                && let Some(cycle) = self.way_back(id)
            {
                seen.extend(cycle.iter().copied());
                cycles.push(cycle);
            }
        }
        cycles
    }

    fn direct(&self, id: &str) -> impl Iterator<Item = &'s str> {
        self.needs.get(id).into_iter().flatten().copied()
    }

    /// The shortest way from `id` to itself.
    fn way_back(&self, id: &'s str) -> Option<Vec<&'s str>> {
        let mut came_from: BTreeMap<&str, &'s str> = BTreeMap::new();
        let mut queue = VecDeque::from([id]);
        while let Some(at) = queue.pop_front() {
            for next in self.direct(at) {
                if next == id {
                    let mut way = vec![id, at];
                    while let Some(previous) = way.last().filter(|last| **last != id).and_then(|last| came_from.get(*last)) {
                        way.push(previous);
                    }
                    way.reverse();
                    return Some(way);
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(needs: &[(&'static str, &[&'static str])]) -> Graph<'static> {
        let mut graph = Graph::default();
        needs.iter().for_each(|(id, needs)| graph.add(id, needs.iter().copied()));
        graph
    }

    #[test]
    fn everything_before_a_step_is_found_even_around_a_cycle() {
        let graph = graph(&[("a", &[]), ("b", &["a"]), ("c", &["b", "x"]), ("d", &["e"]), ("e", &["d"])]);
        assert_eq!(graph.before("c"), ["a", "b", "x"].into());
        assert_eq!(graph.before("d"), ["d", "e"].into());
        assert_eq!(graph.before("unknown"), [].into());
    }

    #[test]
    fn every_step_of_a_cycle_is_in_one_that_is_told() {
        assert_eq!(graph(&[("a", &["b"]), ("b", &["a"])]).cycles(), [["a", "b", "a"]]);
        assert_eq!(graph(&[("a", &["a"]), ("b", &["a"])]).cycles(), [["a", "a"]]);
        let nested = graph(&[("a", &["b"]), ("b", &["c", "d"]), ("c", &["d"]), ("d", &["b"])]);
        assert_eq!(nested.cycles(), [vec!["b", "d", "b"], vec!["c", "d", "b", "c"]]);
        assert_eq!(graph(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])]).cycles(), Vec::<Vec<&str>>::new());
    }
}
