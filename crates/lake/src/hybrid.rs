//! Parquet's hybrid of run lengths and bit-packed groups, in which dictionary numbers and levels are written.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>

/// Values of a bit-packed group; equal values shorter than that are not worth a run.
const GROUP: usize = 8;

/// Returns the bits that numbers below `count` need.
pub(crate) fn bit_width(count: usize) -> u8 {
    let largest = count.saturating_sub(1) as u64;
    (u64::BITS - largest.leading_zeros()) as u8
}

/// Appends `values`, each of which fits in `width` bits.
pub(crate) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if width == 0 {
        return repeat(0, values.len(), width, out);
    }
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let run = run_length(values, at);
        // All groups but the last one of a page are full, so the first values of a run may have to fill one up.
        let filling = (at - packed_from).next_multiple_of(GROUP) - (at - packed_from);
        if run >= GROUP + filling {
            pack(&values[packed_from..at + filling], width, out);
            repeat(values[at], run - filling, width, out);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&values[packed_from..], width, out);
}

/// Appends `count` times `value`.
pub(crate) fn repeat(value: u32, count: usize, width: u8, out: &mut Vec<u8>) {
    if count > 0 {
        varint((count as u64) << 1, out);
        let bytes = usize::from(width).div_ceil(8);
        out.extend_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

fn run_length(values: &[u32], at: usize) -> usize {
    let value = values[at];
    values[at..].iter().take_while(|other| **other == value).count()
}

/// Appends groups of eight values, the last one filled up with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint(((groups as u64) << 1) | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut bits, mut filled) = (0_u64, 0);
    for value in values {
        bits |= u64::from(*value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..usize::from(filled).div_ceil(8)]);
    out.resize(end, 0);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads by the rules of the format.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let mut header = 0_u64;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let length = usize::try_from(header >> 1).unwrap();
            if header & 1 == 0 {
                let size = usize::from(width).div_ceil(8);
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), length));
            } else {
                let (groups, rest) = bytes.split_at(length * usize::from(width));
                let bit = |at: usize| u32::from(groups[at / 8] >> (at % 8) & 1);
                let value = |index: usize| {
                    (0..usize::from(width)).map(|at| bit(index * usize::from(width) + at) << at).sum::<u32>()
                };
                values.extend((0..length * 8).map(value));
                bytes = rest;
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(
            runs in prop::collection::vec((0..5000_u32, 1..40_usize), 0..60),
            wide in any::<bool>(),
        ) {
            let values: Vec<u32> =
                runs.iter().flat_map(|(value, count)| std::iter::repeat_n(if wide { *value } else { value % 2 }, *count)).collect();
            let width = bit_width(values.iter().max().map_or(0, |largest| *largest as usize + 1));
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, values.len()), values);
        }
    }

    #[test]
    fn widths_are_those_of_the_largest_number() {
        for (count, width) in [(0, 0), (1, 0), (2, 1), (3, 2), (256, 8), (257, 9)] {
            assert_eq!(bit_width(count), width);
        }
    }
}
