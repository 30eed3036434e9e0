//! Repeats folded: a list in which a stretch comes several times in a row, told once with how often.

/// The longest stretch that is looked for.
const PERIOD_MAX: usize = 40;

/// A stretch of the list, and how often it comes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Where it begins.
    pub from: usize,
    /// How many items it has.
    pub items: usize,
    /// How often it comes.
    pub times: usize,
}

/// Folds a list: at each place the repeat that covers most, of several the shortest.
pub fn fold<T: PartialEq>(list: &[T]) -> Vec<Fold> {
    let mut folds: Vec<Fold> = Vec::new();
    let mut from = 0;
    while from < list.len() {
        let (mut items, mut times) = (1, 1);
        for period in 1..=PERIOD_MAX.min((list.len() - from) / 2) {
            let found = count(&list[from..], period);
            if found > 1 && found * period > items * times {
                (items, times) = (period, found);
            }
        }
        match folds.last_mut() {
            // What does not repeat is one stretch.
            Some(last) if times == 1 && last.times == 1 => last.items += items,
            _ => folds.push(Fold { from, items, times }),
        }
        from += items * times;
    }
    folds
}

/// How often the first `period` items come in a row.
fn count<T: PartialEq>(list: &[T], period: usize) -> usize {
    let (first, rest) = list.split_at(period);
    1 + rest.chunks_exact(period).take_while(|chunk| *chunk == first).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfold(folds: &[Fold], list: &[u8]) -> Vec<u8> {
        let stretch = |fold: &Fold| list[fold.from..fold.from + fold.items].repeat(fold.times);
        folds.iter().flat_map(stretch).collect()
    }

    #[test]
    fn a_folded_list_unfolds_to_what_it_was() {
        for list in [&b""[..], b"a", b"aaaa", b"xababababy", b"abcabcabcd", b"aabaabaab", b"abcdef"]
        {
            assert_eq!(unfold(&fold(list), list), list);
        }
    }

    #[test]
    fn the_round_of_a_ping_pong_is_told_once() {
        let folds = fold(b"startABCDABCDABCDend");
        let told: Vec<(usize, usize)> = folds.iter().map(|fold| (fold.items, fold.times)).collect();
        assert_eq!(told, [(5, 1), (4, 3), (3, 1)]);
    }
}
