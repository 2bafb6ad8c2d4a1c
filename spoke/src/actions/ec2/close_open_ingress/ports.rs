//! Sets of TCP or UDP ports.

use serde::{Deserialize, Serialize};

/// A set of ports, as disjoint ranges in order that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// Every port.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(0, u16::MAX)])
    }

    /// The ports of these ranges, both ends included. A range that ends before it begins holds none.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut ranges: Vec<(u16, u16)> = ranges.into_iter().filter(|(from, to)| from <= to).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match joined.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    /// These ports.
    #[must_use]
    pub fn ports(ports: impl IntoIterator<Item = u16>) -> Self {
        Self::of(ports.into_iter().map(|port| (port, port)))
    }

    /// Its ranges.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// Whether it holds no port.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ports in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// The ports that are not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut next: u32 = 0;
        for &(from, to) in &self.0 {
            if let (Ok(start), Some(end)) = (u16::try_from(next), from.checked_sub(1))
                && start <= end
            {
                rest.push((start, end));
            }
            next = u32::from(to) + 1;
        }
        if let Ok(start) = u16::try_from(next) {
            rest.push((start, u16::MAX));
        }
        Self(rest)
    }

    /// The ports in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.0.iter().flat_map(|&(from, to)| other.0.iter().map(move |&(low, high)| (from.max(low), to.min(high)))))
    }

    /// The ports that are in it and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.and(&other.complement())
    }

    /// Whether they have a port in common.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        !self.and(other).is_empty()
    }

    /// Whether it holds all ports of the other.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }
}

impl std::fmt::Display for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (from, to)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if from == to { write!(f, "{from}")? } else { write!(f, "{from}-{to}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(set: &PortSet, port: u16) -> bool {
        set.ranges().iter().any(|&(from, to)| (from..=to).contains(&port))
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(PortSet::of([(23, 30), (0, 21), (22, 22)]).ranges(), [(0, 30)]);
        assert_eq!(PortSet::of([(5, 4)]), PortSet::default());
        assert_eq!(PortSet::all().minus(&PortSet::ports([0, 22, 65535])).ranges(), [(1, 21), (23, 65534)]);
        assert_eq!(PortSet::default().complement(), PortSet::all());
        assert!(PortSet::all().complement().is_empty());
        assert_eq!(PortSet::of([(1, 3), (80, 80)]).to_string(), "1-3,80");
    }

    fn set() -> impl Strategy<Value = PortSet> {
        let end = prop_oneof![Just(0_u16), Just(u16::MAX), 0_u16..60, any::<u16>()];
        prop::collection::vec((end.clone(), end), 0..6).prop_map(PortSet::of)
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(a in set(), b in set(), port in prop_oneof![0_u16..64, any::<u16>(), Just(u16::MAX)]) {
            prop_assert_eq!(holds(&a.union(&b), port), holds(&a, port) || holds(&b, port));
            prop_assert_eq!(holds(&a.and(&b), port), holds(&a, port) && holds(&b, port));
            prop_assert_eq!(holds(&a.minus(&b), port), holds(&a, port) && !holds(&b, port));
            prop_assert_eq!(a.covers(&b), b.union(&a) == a);
            prop_assert_eq!(a.complement().complement(), a);
        }
    }
}
