//! A private directory's name taken out of the debug information of an ELF object. Knows sections and bytes; knows
//! neither DWARF's entries nor where the name comes from.
//!
//! Prefix maps do this in the compiler, exactly (`compiler_args::Unpacked`). What is left to do here is the work of
//! compilers that know no map. A path can be shortened only by moving what follows it, and everything that follows
//! is counted: DWARF's units carry their lengths, its entries refer to each other and to strings by offset, and so do
//! relocations. So the name is overwritten by as many slashes: `/tmp/distccd_1a2b3c4d/home/u/p` becomes
//! `//////////////////////home/u/p`, which every program reads as `/home/u/p`. Nothing has moved, no offset is wrong,
//! and strings that several places share are changed for all of them at once.
//!
//! Compressed sections are left alone: their size would change. Such an object is the result of `-gz`, and of a
//! compiler that knows no map only where its user asks for it.

use std::ops::Range;

/// The sections with names of files in them.
const SECTIONS: [&[u8]; 7] = [
    b".debug_info",
    b".debug_line",
    b".debug_line_str",
    b".debug_macinfo",
    b".debug_macro",
    b".debug_str",
    b".debug_types",
];
/// What takes the place of `.debug_` in the names of sections that old assemblers compressed.
const OLD_COMPRESSED_PREFIX: &[u8] = b".zdebug_";
/// Set in a compressed section's flags (System V ABI, "Section Attribute Flags").
const SHF_COMPRESSED: u64 = 0x800;
/// The type of a section without bytes in the file.
const SHT_NOBITS: u64 = 8;
/// In the header, in place of a section's index: section 0 has it (System V ABI, "Special Section Indexes").
const SHN_XINDEX: u64 = 0xffff;

/// What has been done about a directory's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// How often the name was found in debug information, and overwritten.
    pub replaced: usize,
    /// How often it is still there, in what is no debug information: such a result shows where it was made.
    pub remaining: usize,
    /// Whether there are sections that could not be looked into.
    pub compressed_skipped: bool,
}

/// Overwrites `root`, an absolute path, with slashes in an object's debug information.
///
/// What is no ELF object is only searched. Takes time in proportion to the object's size, whatever is in it.
pub fn hide_root(object: &mut [u8], root: &[u8]) -> Patched {
    let mut patched = Patched::default();
    if root.is_empty() {
        return patched;
    }
    let search = Search::new(root);
    for range in debug_ranges(object, &mut patched.compressed_skipped).unwrap_or_default() {
        let section = &mut object[range];
        let mut from = 0;
        while let Some(at) = search.find(section, from) {
            section[at..at + root.len()].fill(b'/');
            from = at + root.len();
            patched.replaced += 1;
        }
    }
    let mut from = 0;
    while let Some(at) = search.find(object, from) {
        from = at + root.len();
        patched.remaining += 1;
    }
    patched
}

/// Where debug information is, in order and without overlaps: sections that claim the same bytes are one to us. `None`
/// if the file contradicts itself before a section could be found.
fn debug_ranges(object: &[u8], compressed: &mut bool) -> Option<Vec<Range<usize>>> {
    let elf = Elf::parse(object)?;
    let mut ranges = Vec::new();
    for index in 0..elf.section_count {
        let Some(section) = elf.section(index) else { break };
        let Some(name) = elf.name(&section) else { continue };
        if name.starts_with(OLD_COMPRESSED_PREFIX) {
            *compressed = true;
        }
        if !SECTIONS.contains(&name) || section.kind == SHT_NOBITS {
            continue;
        }
        if section.flags & SHF_COMPRESSED != 0 {
            *compressed = true;
            continue;
        }
        let start = usize::try_from(section.offset).ok();
        let end = section.offset.checked_add(section.size).and_then(|end| usize::try_from(end).ok());
        if let (Some(start), Some(end)) = (start, end)
            && end <= object.len()
        {
            ranges.push(start..end);
        }
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let overlaps = next.start < last.end;
        if overlaps {
            last.end = last.end.max(next.end);
        }
        overlaps
    });
    Some(ranges)
}

/// An ELF file of either class and byte order, and where its sections' headers are.
struct Elf<'a> {
    bytes: &'a [u8],
    is_64_bit: bool,
    is_big_endian: bool,
    headers: u64,
    header_size: u64,
    section_count: u64,
    names: u64,
}

struct Section {
    name: u64,
    kind: u64,
    flags: u64,
    offset: u64,
    size: u64,
    link: u64,
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Elf<'a>> {
        let is_64_bit = match bytes {
            [0x7f, b'E', b'L', b'F', 1, ..] => false,
            [0x7f, b'E', b'L', b'F', 2, ..] => true,
            _ => return None,
        };
        let is_big_endian = match bytes.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let mut elf =
            Elf { bytes, is_64_bit, is_big_endian, headers: 0, header_size: 0, section_count: 0, names: 0 };
        let [headers, header_size, count, names] =
            if is_64_bit { [40, 58, 60, 62] } else { [32, 46, 48, 50] };
        elf.headers = elf.word(headers)?;
        elf.header_size = elf.number(header_size, 2)?;
        elf.section_count = elf.number(count, 2)?;
        elf.names = elf.number(names, 2)?;
        if elf.headers == 0 || elf.header_size < if is_64_bit { 64 } else { 40 } {
            return None;
        }
        // Numbers too large for the header are in section 0.
        let first = elf.section(0)?;
        if elf.section_count == 0 {
            elf.section_count = first.size;
        }
        let names = if elf.names == SHN_XINDEX { first.link } else { elf.names };
        elf.names = elf.section(names)?.offset;
        Some(elf)
    }

    /// The header of a section; `None` past the file's end.
    fn section(&self, index: u64) -> Option<Section> {
        let at = self.headers.checked_add(index.checked_mul(self.header_size)?)?;
        let word = |low: u64, high: u64| {
            if self.is_64_bit { self.word(at.checked_add(high)?) } else { self.word(at.checked_add(low)?) }
        };
        Some(Section {
            name: self.number(at, 4)?,
            kind: self.number(at.checked_add(4)?, 4)?,
            flags: word(8, 8)?,
            offset: word(16, 24)?,
            size: word(20, 32)?,
            link: self.number(at.checked_add(if self.is_64_bit { 40 } else { 24 })?, 4)?,
        })
    }

    /// A section's name, if it is one of those looked for or as short as they are.
    fn name(&self, section: &Section) -> Option<&'a [u8]> {
        const NAME_BYTES_MAX: usize = 24;
        let start = usize::try_from(self.names.checked_add(section.name)?).ok()?;
        let bytes = self.bytes.get(start..)?;
        let bytes = &bytes[..bytes.len().min(NAME_BYTES_MAX)];
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(&bytes[..end])
    }

    /// An address-sized number.
    fn word(&self, at: u64) -> Option<u64> {
        self.number(at, if self.is_64_bit { 8 } else { 4 })
    }

    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}

/// A search for one string that looks at few bytes (Horspool's): objects are large, and most hold nothing to find.
struct Search<'a> {
    wanted: &'a [u8],
    /// For each byte value: how far to move on when the window ends in it.
    shift: [usize; 256],
}

impl Search<'_> {
    /// `wanted` is not empty.
    fn new(wanted: &[u8]) -> Search<'_> {
        let mut shift = [wanted.len(); 256];
        for (at, byte) in wanted[..wanted.len() - 1].iter().enumerate() {
            shift[usize::from(*byte)] = wanted.len() - 1 - at;
        }
        Search { wanted, shift }
    }

    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let window = bytes.get(at..at + self.wanted.len())?;
            if window == self.wanted {
                return Some(at);
            }
            at += self.shift[usize::from(window[window.len() - 1])];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = b"/tmp/distccd_1a2b3c4d";

    #[derive(Clone, Copy)]
    struct Form {
        is_64_bit: bool,
        is_big_endian: bool,
        /// Whether numbers are where a file with very many sections has them.
        is_extended: bool,
    }

    fn forms() -> impl Iterator<Item = Form> {
        (0..8).map(|bits| Form {
            is_64_bit: bits & 1 != 0,
            is_big_endian: bits & 2 != 0,
            is_extended: bits & 4 != 0,
        })
    }

    impl Form {
        fn put(self, out: &mut Vec<u8>, number: u64, size: usize) {
            let bytes = if self.is_big_endian {
                number.to_be_bytes()[8 - size..].to_vec()
            } else {
                number.to_le_bytes()[..size].to_vec()
            };
            out.extend(bytes);
        }

        /// An object of sections with a name, flags and content; the last is the table of names.
        fn object(self, sections: &[(&str, u64, &[u8])]) -> Vec<u8> {
            let word = if self.is_64_bit { 8 } else { 4 };
            let header_bytes = if self.is_64_bit { 64 } else { 52 };
            let (mut content, mut names) = (Vec::new(), vec![0]);
            let mut headers = Vec::new();
            let count = sections.len() as u64 + 2;
            let none: (u64, u64) = if self.is_extended { (count, count - 1) } else { (0, 0) };
            self.put_section(&mut headers, [0, 0, 0, 0, none.0, none.1]);
            for (name, flags, bytes) in sections {
                let at = header_bytes + content.len() as u64;
                self.put_section(&mut headers, [names.len() as u64, 1, *flags, at, bytes.len() as u64, 0]);
                names.extend_from_slice(name.as_bytes());
                names.push(0);
                content.extend_from_slice(bytes);
            }
            let at = header_bytes + content.len() as u64;
            self.put_section(&mut headers, [0, 3, 0, at, names.len() as u64, 0]);
            content.extend(names);
            let mut out = vec![0x7f, b'E', b'L', b'F'];
            out.extend([1 + u8::from(self.is_64_bit), 1 + u8::from(self.is_big_endian)]);
            out.resize(24 + 2 * word, 0);
            self.put(&mut out, header_bytes + content.len() as u64, word);
            out.resize(header_bytes as usize - 6, 0);
            self.put(&mut out, if self.is_64_bit { 64 } else { 40 }, 2);
            self.put(&mut out, if self.is_extended { 0 } else { count }, 2);
            self.put(&mut out, if self.is_extended { SHN_XINDEX } else { count - 1 }, 2);
            [out, content, headers].concat()
        }

        fn put_section(self, out: &mut Vec<u8>, [name, kind, flags, at, size, link]: [u64; 6]) {
            let word = if self.is_64_bit { 8 } else { 4 };
            self.put(out, name, 4);
            self.put(out, kind, 4);
            for number in [flags, 0, at, size] {
                self.put(out, number, word);
            }
            self.put(out, link, 4);
            self.put(out, 0, 4);
            self.put(out, 1, word);
            self.put(out, 0, word);
        }
    }

    fn sample(form: Form) -> Vec<u8> {
        let path = b"gcc\0/tmp/distccd_1a2b3c4d/home/u\0/tmp/distccd_1a2b3c4d\0a.c\0".as_slice();
        form.object(&[
            (".text", 6, path),
            (".debug_info", 0, path),
            (".debug_str", 0x30, path),
            (".debug_str", SHF_COMPRESSED, path),
            (".debug_strange", 0, path),
        ])
    }

    #[test]
    fn the_root_becomes_slashes_in_debug_sections_of_all_kinds_of_objects() {
        for form in forms() {
            let before = sample(form);
            let mut after = before.clone();
            let patched = hide_root(&mut after, ROOT);
            assert_eq!(patched, Patched { replaced: 4, remaining: 6, compressed_skipped: true });
            let clean = [b"gcc\0".as_slice(), &[b'/'; 22], b"home/u\0", &[b'/'; 21], b"\0a.c\0"].concat();
            assert_eq!(after.windows(clean.len()).filter(|part| *part == clean).count(), 2);
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
            let not_slashes = ROOT.iter().filter(|byte| **byte != b'/').count();
            assert_eq!((after.len(), changed.count()), (before.len(), 4 * not_slashes));
        }
    }

    #[test]
    fn what_is_compressed_is_reported_and_left() {
        for (name, flags) in [(".debug_line", SHF_COMPRESSED), (".zdebug_info", 0)] {
            let mut object = forms().next().unwrap().object(&[(name, flags, ROOT)]);
            let before = object.clone();
            let patched = hide_root(&mut object, ROOT);
            assert_eq!(patched, Patched { replaced: 0, remaining: 1, compressed_skipped: true }, "{name}");
            assert_eq!(object, before);
        }
    }

    #[test]
    fn what_is_no_object_is_only_searched() {
        let text = [b"\t.file \"".as_slice(), ROOT, b"/a.c\"\n"].concat();
        for (bytes, remaining) in
            [(text.as_slice(), 1), (b"BC\xc0\xde", 0), (b"", 0), (b"\x7fELF\x02\x01", 0)]
        {
            let mut object = bytes.to_vec();
            assert_eq!(hide_root(&mut object, ROOT), Patched { remaining, ..Patched::default() });
            assert_eq!(object, bytes);
        }
        assert_eq!(hide_root(&mut [1, 2, 3], b""), Patched::default());
    }

    #[test]
    fn the_search_finds_every_place() {
        for (text, wanted, want) in [
            ("abcabcab", "abc", vec![0, 3]),
            ("aaab", "ab", vec![2]),
            ("xxa", "a", vec![2]),
            ("ab", "abc", vec![]),
            ("/t/tt/t/x/t/x", "/t/x", vec![5, 9]),
        ] {
            let search = Search::new(wanted.as_bytes());
            let mut found = Vec::new();
            while let Some(at) = search.find(text.as_bytes(), found.last().map_or(0, |at| at + 1)) {
                found.push(at);
            }
            assert_eq!(found, want, "{wanted} in {text}");
        }
    }

    /// The same numbers in each run (Marsaglia's generator).
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as usize
    }

    #[test]
    fn hostile_objects_do_no_harm() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for form in forms() {
            let whole = sample(form);
            for end in 0..whole.len() {
                hide_root(&mut whole[..end].to_vec(), ROOT);
            }
            for _ in 0..4000 {
                let mut object = whole.clone();
                for _ in 0..=next(&mut state) % 6 {
                    // Headers are at both ends; extreme numbers do more harm than others.
                    let reach = object.len().min(400);
                    let at = next(&mut state) % reach;
                    let at = if next(&mut state) & 1 == 0 { at } else { object.len() - 1 - at };
                    object[at] = [0, 1, 0x7f, 0x80, 0xff, next(&mut state) as u8][next(&mut state) % 6];
                }
                let length = object.len();
                let patched = hide_root(&mut object, ROOT);
                assert!(object.len() == length && patched.replaced * ROOT.len() <= length);
            }
        }
    }

    #[test]
    fn sections_that_share_their_bytes_cost_nothing_more() {
        let form = Form { is_64_bit: true, is_big_endian: false, is_extended: true };
        let mut object = form.object(&[(".debug_str", 0, &vec![b'/'; 1 << 20])]);
        // Every header from here on is the same one again: 50000 sections of a megabyte each.
        let headers = object.len() - 3 * 64;
        let count = 50_000u64;
        object[headers + 32..headers + 40].copy_from_slice(&count.to_le_bytes());
        let names = object[headers + 128..headers + 192].to_vec();
        let section = object[headers + 64..headers + 128].to_vec();
        object[headers + 40..headers + 44].copy_from_slice(&2u32.to_le_bytes());
        assert!(names[4] == 3);
        for _ in 3..count {
            object.extend_from_slice(&section);
        }
        let start = std::time::Instant::now();
        assert_eq!(hide_root(&mut object, ROOT).replaced, 0);
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "took {:?}", start.elapsed());
    }
}
