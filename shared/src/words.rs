//! Guessing which word was meant.

/// A JSON value with the keys of all its objects sorted: one text for one value, in whatever order it was put together.
#[must_use]
pub fn canonical(mut value: serde_json::Value) -> serde_json::Value {
    value.sort_all_objects();
    value
}

/// The candidate nearest to `word`, if one is near enough to be worth suggesting: no more than a third of its letters
/// differ (Damerau and Levenshtein's distance with adjacent transpositions, "optimal string alignment").
#[must_use]
pub fn closest<S: AsRef<str>>(word: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let word: Vec<char> = word.chars().take(64).collect();
    let near = |candidate: &S| {
        let candidate: Vec<char> = candidate.as_ref().chars().take(64).collect();
        let allowed = (word.len().max(candidate.len()) / 3).max(1);
        Some(distance(&word, &candidate)).filter(|distance| *distance <= allowed && *distance < candidate.len())
    };
    let candidates = candidates.into_iter().filter_map(|candidate| near(&candidate).map(|distance| (distance, candidate)));
    candidates.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate.as_ref().to_owned())
}

fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(l != r)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(r) && right.get(j - 1) == Some(l);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_word_that_was_meant() {
        let words = ["finding", "subject", "account", "steps"];
        assert_eq!(closest("findng", words).as_deref(), Some("finding"));
        assert_eq!(closest("setps", words).as_deref(), Some("steps"));
        assert_eq!(closest("step", words).as_deref(), Some("steps"));
    }

    #[test]
    fn a_word_that_is_like_none_suggests_nothing() {
        assert_eq!(closest("kubernetes", ["finding", "subject"]), None);
        assert_eq!(closest("x", ["a", "bc"]), None);
        assert_eq!(closest("", ["finding"]), None);
    }
}
