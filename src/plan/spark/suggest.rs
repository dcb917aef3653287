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
        .filter(|(distance, candidate)| *distance <= name.len().min(candidate.chars().count()).div_ceil(3))
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// Edit distance of two short words; two letters that changed places are one edit.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut before: Vec<usize> = Vec::new();
    for (i, x) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = previous[j] + usize::from(x != y);
            let mut least = replaced.min(previous[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_far_ones_not_at_all() {
        assert_eq!(nearest("uper", ["lower", "upper", "substring"], 3), ["upper"]);
        assert_eq!(nearest("INTT", ["int", "bigint", "timestamp"], 1), ["int"]);
        assert_eq!(nearest("smu", ["sum", "min"], 3), ["sum"]);
        assert!(nearest("x", ["timestamp"], 3).is_empty());
        assert!(nearest("transfer", ["transform", "trim", "translate", "array_sort"], 3) == ["transform"]);
    }
}
