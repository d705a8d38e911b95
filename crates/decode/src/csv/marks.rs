//! Finds the bytes that matter (delimiter, quote, line ends) sixty-four at a time.

/// Bytes looked at in one step.
const BLOCK: usize = 64;

/// The four bytes searched for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needles(pub(crate) [u8; 4]);

/// An iterator over the positions of the needles, which can be moved forward.
#[derive(Debug)]
pub(crate) struct Marks<'a> {
    data: &'a [u8],
    needles: Needles,
    /// Position of the block whose hits are in `hits`.
    base: usize,
    /// Bit `i` stands for a needle at `base + i` that was not yet returned.
    hits: u64,
}

impl<'a> Marks<'a> {
    /// Starts at `from`.
    pub(crate) fn new(data: &'a [u8], from: usize, needles: Needles) -> Self {
        let mut marks = Self { data, needles, base: from, hits: 0 };
        marks.load();
        marks
    }

    /// Returns the next position, or the length of the data when there is none.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        while self.hits == 0 {
            if self.base + BLOCK >= self.data.len() {
                return self.data.len();
            }
            self.base += BLOCK;
            self.load();
        }
        let at = self.base + self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        at
    }

    /// Forgets everything before `to`.
    #[inline]
    pub(crate) fn seek(&mut self, to: usize) {
        if to < self.base + BLOCK {
            let skipped = to.saturating_sub(self.base);
            self.hits &= u64::MAX << skipped;
        } else {
            self.base = to;
            self.load();
        }
    }

    #[inline]
    fn load(&mut self) {
        let rest = self.data.get(self.base..).unwrap_or_default();
        self.hits = match rest.first_chunk::<BLOCK>() {
            Some(block) => hits(block, self.needles),
            None => {
                let mut block = [0u8; BLOCK];
                for (to, from) in block.iter_mut().zip(rest) {
                    *to = *from;
                }
                // NUL is never a needle, so the padding has no hits.
                hits(&block, self.needles)
            }
        };
    }
}

/// Returns a bit for each byte of the block that is a needle. Written so that the compiler uses vector instructions
/// for the comparisons; the bytes 0 and 1 that they give are then gathered eight at a time.
#[inline]
fn hits(block: &[u8; BLOCK], needles: Needles) -> u64 {
    // Multiplying eight bytes of 0 or 1 by this puts byte `i` into bit `56 + i`; no two products meet.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let [a, b, c, d] = needles.0;
    let mut found = [0u8; BLOCK];
    for (to, byte) in found.iter_mut().zip(block) {
        *to = u8::from(*byte == a) | u8::from(*byte == b) | u8::from(*byte == c) | u8::from(*byte == d);
    }
    let mut mask = 0;
    for (index, eight) in found.as_chunks::<8>().0.iter().enumerate() {
        mask |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (index * 8);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_search_finds_from_any_start() {
        let needles = Needles([b',', b'"', b'\n', b'\r']);
        let data: Vec<u8> = (0..1000u32).map(|i| b"a,b\"c\nd\rxyzxyzxyz\xe9"[(i * i % 19) as usize % 19]).collect();
        for from in 0..200 {
            let expected: Vec<usize> =
                (from..data.len()).filter(|at| needles.0.contains(&data[*at])).chain([data.len()]).collect();
            let mut marks = Marks::new(&data, from, needles);
            let mut found = vec![marks.next()];
            while *found.last().unwrap() < data.len() {
                found.push(marks.next());
            }
            assert_eq!(found, expected, "from {from}");
            let mut marks = Marks::new(&data, 0, needles);
            let first = marks.next();
            marks.seek(from);
            let rest = (from.max(first + 1)..data.len()).find(|at| needles.0.contains(&data[*at]));
            assert_eq!(marks.next(), rest.unwrap_or(data.len()), "seek {from}");
        }
    }
}
