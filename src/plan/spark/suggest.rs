//! "Did you mean": the known names nearest to one that nobody knows.

/// Up to `count` of `known`, nearest to `name` first (any case). Names that share next to nothing with it are left out.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let name: Vec<char> = name.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().take(64).flat_map(char::to_lowercase).collect();
            (distance(&name, &letters), candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1 + name.len().max(candidate.len()) / 2)
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// Edit distance of two short words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = previous[j] + usize::from(x != y);
            current.push(replaced.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_far_ones_not_at_all() {
        assert_eq!(nearest("uper", ["lower", "upper", "substring"], 3), ["upper", "lower"]);
        assert_eq!(nearest("INTT", ["int", "bigint", "timestamp"], 1), ["int"]);
        assert!(nearest("x", ["timestamp"], 3).is_empty());
    }
}
