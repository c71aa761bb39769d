//! Classes of characters: RE2's Perl and POSIX ones are ASCII, its brackets know ranges and no set operations.
//!
//! Part of [`super::re2`]. A class is put together from items of the `regex` crate's classes; a negated one among them is a class of its own, so that
//! it has all other characters, whole ones.

use super::escape::{self, Escape, quoted};

/// Every character, as an item.
const ANY: &str = "\\x{0}-\\x{10FFFF}";
/// How many there are.
const ANY_CHARS: u64 = 0x11_0000;
/// More characters than any category or script has.
const TABLE_CHARS_MAX: u64 = 0x2_8000;
/// Units of a category or script of Unicode in a class: hundreds of ranges.
const TABLE_UNITS: u64 = 256;
/// Characters for whose other case the crate looks at the cost of one unit: it looks for each of a class.
const FOLDED_PER_UNIT: u64 = 16;

/// Items of a class.
#[derive(Default)]
pub(super) struct Items {
    /// As the `regex` crate writes them.
    pub text: String,
    /// How many are categories or scripts of Unicode.
    tables: u64,
    /// Characters of those whose other case is looked for in each item by itself.
    folded: u64,
    /// Characters of all, at most.
    chars: u64,
    /// Whether one is a range that is written out: then the other case is looked for of all of them together.
    ranges: bool,
}

impl Items {
    fn add(&mut self, item: &Items) {
        self.text.push_str(&item.text);
        self.tables += item.tables;
        self.folded += item.folded;
        self.chars += item.chars;
        self.ranges |= item.ranges;
    }

    /// What compiling a class of these costs, in units of the budget.
    pub fn units(&self, any_case: bool) -> u64 {
        let together = if self.ranges { self.chars.min(ANY_CHARS) } else { 0 };
        let folded = if any_case { self.folded + together } else { 0 };
        self.tables * TABLE_UNITS + folded / FOLDED_PER_UNIT
    }
}

/// The class at the front of `rest`, which begins with `[`, and what is behind it. `behind_names`: how much of the pattern is left at the last `:]`.
pub(super) fn bracketed(rest: &str, behind_names: usize) -> Result<(Items, &str), String> {
    let inside = &rest[1..];
    let (negated, mut rest) = inside.strip_prefix('^').map_or((false, inside), |inside| (true, inside));
    let mut items = Items::default();
    let mut first = true;
    // Where it is first, it is one of the characters.
    while first || !rest.starts_with(']') {
        if rest.is_empty() {
            return Err("a class is not closed; `]` is missing".to_owned());
        }
        first = false;
        let (item, behind) = item(rest, behind_names)?;
        items.add(&item);
        rest = behind;
    }
    items.text = if negated { negative(&items.text) } else { positive(&items.text) };
    Ok((items, &rest[1..]))
}

/// One item of a class.
fn item(rest: &str, behind_names: usize) -> Result<(Items, &str), String> {
    // Where no `:]` is left, none is looked for: others may begin like this.
    if rest.starts_with("[:")
        && rest.len() - 2 >= behind_names
        && let Some(length) = rest[2..].find(":]")
    {
        let (written, behind) = rest.split_at(length + 4);
        return posix(written).map(|item| (item, behind));
    }
    let (low, behind) = match endpoint(rest)? {
        (Escape::Char(low), behind) => (low, behind),
        (Escape::Class(items), behind) => return Ok((items, behind)),
        (Escape::Place(_), _) => unreachable!("no place stands in a class"),
    };
    match behind.strip_prefix('-').filter(|high| !high.is_empty() && !high.starts_with(']')) {
        None => Ok((written_out(low, low), behind)),
        Some(high) => {
            let written = high;
            // A class is no end of a range.
            let (high, behind) = match high.strip_prefix('\\') {
                Some(_) => escape::character(high)?,
                None => plain(high),
            };
            if high < low {
                let length = written.len() - behind.len();
                return Err(format!("the range up to `{}` has no characters", &written[..length]));
            }
            Ok((written_out(low, high), behind))
        }
    }
}

fn endpoint(rest: &str) -> Result<(Escape, &str), String> {
    if rest.starts_with('\\') {
        return escape::inside(rest);
    }
    let (code, behind) = plain(rest);
    Ok((Escape::Char(code), behind))
}

/// The character at the front.
fn plain(rest: &str) -> (u32, &str) {
    let mut chars = rest.chars();
    (chars.next().unwrap_or_default().into(), chars.as_str())
}

/// A class of these items.
pub(super) fn positive(items: &str) -> String {
    if items.is_empty() { format!("[^{ANY}]") } else { format!("[{items}]") }
}

fn negative(items: &str) -> String {
    if items.is_empty() { format!("[{ANY}]") } else { format!("[^{items}]") }
}

/// What matches one code point, alone.
pub(super) fn of_code(code: u32) -> String {
    positive(&range(code, code))
}

/// The characters from `low` to `high`; no text has the surrogates among them, which RE2 lets stand there.
fn range(low: u32, high: u32) -> String {
    let above = |code: u32| (code..=0xE000).find_map(char::from_u32).unwrap_or(char::MAX);
    let below = |code: u32| (0xD7FF..=code).rev().find_map(char::from_u32).unwrap_or('\u{0}');
    let low = char::from_u32(low).unwrap_or_else(|| above(low));
    let high = char::from_u32(high).unwrap_or_else(|| below(high));
    if low > high {
        return String::new();
    }
    format!("\\x{{{:X}}}-\\x{{{:X}}}", u32::from(low), u32::from(high))
}

fn written_out(low: u32, high: u32) -> Items {
    Items { text: range(low, high), chars: u64::from(high - low) + 1, ranges: true, ..Items::default() }
}

/// An item that the crate has by name or as a class of its own.
fn named(text: String, negated: bool) -> Items {
    let chars = if negated { ANY_CHARS } else { 128 };
    Items { text, folded: 128, chars, ..Items::default() }
}

/// `\d`, `\s`, `\w` and what they leave, by their letter.
pub(super) fn perl(letter: u8) -> Items {
    let items = match letter.to_ascii_lowercase() {
        b'd' => "0-9",
        // No vertical tab, as Perl had it.
        b's' => "\\t\\n\\f\\r\\x20",
        _ => "0-9A-Za-z_",
    };
    let negated = letter.is_ascii_uppercase();
    let text = if negated { negative(items) } else { items.to_owned() };
    named(text, negated)
}

/// `[:alpha:]` and its like, which the `regex` crate has, too.
fn posix(written: &str) -> Result<Items, String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    let name = &written[2..written.len() - 2];
    let known = NAMES.contains(&name.strip_prefix('^').unwrap_or(name));
    let negated = name.starts_with('^');
    if known {
        Ok(named(written.to_owned(), negated))
    } else {
        Err(format!("`{}` is no class of characters", quoted(written)))
    }
}

/// `\pL`, `\p{Greek}`, `\P{^Lu}`, and what is behind.
pub(super) fn unicode(rest: &str) -> Result<(Items, &str), String> {
    let behind = &rest[2..];
    let (name, behind) = match behind.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or("`}` is missing behind `\\p{`")?,
        None => behind.split_at(behind.chars().next().map_or(0, char::len_utf8)),
    };
    let (name, flipped) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let items = match name {
        "Any" => ANY.to_owned(),
        // Without what is not assigned. No text has surrogates.
        "C" => "\\p{Cc}\\p{Cf}\\p{Co}".to_owned(),
        "Cs" => String::new(),
        category if CATEGORIES.split(' ').any(|known| known == category) => format!("\\p{{gc={category}}}"),
        script if SCRIPTS.split_ascii_whitespace().any(|known| known == script) => {
            format!("\\p{{sc={script}}}")
        }
        _ => return Err(format!("`{}` is no category or script of Unicode that RE2 knows", quoted(name))),
    };
    let negated = rest.starts_with("\\P") != flipped;
    let any = name == "Any";
    let chars = if any || negated { ANY_CHARS } else { TABLE_CHARS_MAX };
    let folded = if any { ANY_CHARS } else { TABLE_CHARS_MAX };
    let text = if negated { negative(&items) } else { items };
    Ok((Items { text, tables: 1, folded, chars, ranges: any && !negated }, behind))
}

/// The general categories but those that are treated apart. RE2 knows no others, and no other names of them.
const CATEGORIES: &str =
    "Cc Cf Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";

/// The scripts that RE2 knows (Unicode 15.0).
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo \
    Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common \
    Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs \
    Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Han Hangul \
    Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian \
    Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha \
    Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi \
    Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar \
    Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian \
    Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage \
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra \
    Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog \
    Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic \
    Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";
