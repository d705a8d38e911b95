//! Looks at the compound file (MS-CFB) around an xls before the library follows its chains of sectors: a directory whose
//! chain goes in a circle, or a stream that claims to be longer than the file, would be copied until memory ends.

/// Sector numbers from here on are marks: free, end of chain, tables.
const SECTORS_END: u32 = 0xffff_fffa;
const END_OF_CHAIN: u32 = 0xffff_fffe;
/// Bytes of the header, and of an entry of the directory.
const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 128;
/// Where the header's own list of table sectors begins.
const TABLES_AT: usize = 76;

/// Says what is wrong with the chains; what else is, the library finds out.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let Some(file) = Compound::new(bytes) else {
        return Ok(());
    };
    let table = file.table()?;
    let directory = file.chain(&table, file.u32_at(48), "directory")?;
    for entry in directory.iter().flat_map(|sector| file.sector(*sector).chunks_exact(ENTRY_BYTES)) {
        let is_used = entry[66] != 0;
        let low = u64::from(u32::from_le_bytes([entry[120], entry[121], entry[122], entry[123]]));
        let high = u64::from(u32::from_le_bytes([entry[124], entry[125], entry[126], entry[127]]));
        // With small sectors the upper half of the length says nothing.
        let length = if file.sector_bytes == HEADER_BYTES { low } else { low | high << 32 };
        if is_used && length > bytes.len() as u64 {
            return Err(format!("a stream announces {length} bytes in a file of {}", bytes.len()));
        }
    }
    let short_table = u64::from(file.u32_at(64)) * file.sector_bytes as u64;
    if short_table > bytes.len() as u64 {
        return Err(format!("its table of short sectors announces {short_table} bytes in a file of {}", bytes.len()));
    }
    Ok(())
}

struct Compound<'a> {
    bytes: &'a [u8],
    sector_bytes: usize,
}

impl<'a> Compound<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let sector_bytes = match bytes.get(30..32)? {
            [9, 0] => 512,
            [12, 0] => 4096,
            _ => return None,
        };
        (bytes.len() >= HEADER_BYTES).then_some(Self { bytes, sector_bytes })
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(END_OF_CHAIN, |four| u32::from_le_bytes(*four))
    }

    /// Returns a sector, less of it where the file ends.
    fn sector(&self, id: u32) -> &'a [u8] {
        let start = (id as usize + 1).saturating_mul(self.sector_bytes);
        let end = start.saturating_add(self.sector_bytes).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn sectors(&self) -> usize {
        self.bytes.len() / self.sector_bytes + 1
    }

    /// Returns for each sector the one that follows it.
    fn table(&self) -> Result<Vec<u32>, String> {
        let mut lists = numbers(&self.bytes[TABLES_AT..HEADER_BYTES]);
        let (mut next, mut followed) = (self.u32_at(68), 0);
        while next < SECTORS_END {
            followed += 1;
            if followed > self.sectors() {
                return Err("the list of its sector tables goes in a circle".to_owned());
            }
            lists.extend(numbers(self.sector(next)));
            next = lists.pop().unwrap_or(END_OF_CHAIN);
        }
        lists.retain(|id| *id < SECTORS_END);
        if lists.len() > self.sectors() {
            return Err("it has more sector tables than sectors".to_owned());
        }
        Ok(lists.iter().flat_map(|id| numbers(self.sector(*id))).collect())
    }

    fn chain(&self, table: &[u32], first: u32, what: &str) -> Result<Vec<u32>, String> {
        let (mut chain, mut next) = (Vec::new(), first);
        while next < SECTORS_END {
            if chain.len() > self.sectors() {
                return Err(format!("its {what} goes in a circle"));
            }
            chain.push(next);
            next = table.get(next as usize).copied().unwrap_or(END_OF_CHAIN);
        }
        Ok(chain)
    }
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}
