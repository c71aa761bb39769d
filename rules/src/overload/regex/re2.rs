//! RE2's syntax (<https://github.com/google/re2/wiki/Syntax>, by which CEL defines `matches`), written as the `regex` crate has it. The two share a
//! grammar and differ in what its parts mean: the crate's classes are those of Unicode and know set operations, and it takes what RE2 refuses.
//!
//! Called by [`super::Pattern`]. Its work grows with the length of the pattern and no faster, because a submission may supply it. Only whether a text
//! matches is asked, so groups capture nothing, and which of several matches is preferred is left out.

use std::sync::LazyLock;

use regex::Regex;

use super::class::{self, Items};
use super::escape::{self, Escape, literal, quoted};

/// The greatest count of a repetition, and of repetitions inside each other together (RE2's `max_repeat`).
const REPEAT_MAX: u32 = 1000;
/// RE2 reads no count of more digits: its bracket is a literal.
const COUNT_DIGITS_MAX: usize = 9;
/// The flags that matter for whether a text matches.
const FLAGS: [char; 3] = ['i', 'm', 's'];

/// What RE2 understands by `pattern`, as a pattern of the `regex` crate, and the units that the classes in it cost to compile.
///
/// # Errors
/// Why RE2 refuses it. `\C`, which matches one byte, is refused although RE2 takes it: texts have characters.
pub(super) fn translate(pattern: &str) -> Result<(String, u64), String> {
    let behind_names = pattern.rfind(":]").map_or(usize::MAX, |end| pattern.len() - end);
    let mut translator = Translator { repeats_in_group: 1, behind_names, ..Translator::default() };
    let mut rest = pattern;
    while !rest.is_empty() {
        rest = translator.step(rest)?;
    }
    if translator.groups.is_empty() {
        Ok((translator.out, translator.units))
    } else {
        Err(UNCLOSED.to_owned())
    }
}

const UNCLOSED: &str = "a group is not closed; `)` is missing";

/// What RE2 takes for the name of a group.
static GROUP_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\pL\p{Mn}\p{Mc}\p{Nd}\p{Nl}\p{Pc}]+$").expect("a pattern of the crate's")
});

#[derive(Default)]
struct Translator {
    out: String,
    /// Flags that come next in `out`: behind what repeats the operand, where something does.
    flags: String,
    /// For each open group, what `repeats_in_group` was before it.
    groups: Vec<u32>,
    /// Whether a repetition would have something to repeat, at the end of `out`; not at the start of a group or an alternative.
    operand: bool,
    /// Whether that is a repetition itself, which flags or an empty quote keep apart from the next.
    operand_repeats: bool,
    /// The product of the counts of repetitions inside each other, in the operand.
    repeats: u32,
    /// The greatest such product in the group.
    repeats_in_group: u32,
    /// Whether the last thing was a repetition, which no other may follow.
    repeated: bool,
    /// How much of the pattern is left at the last `:]`.
    behind_names: usize,
    /// Whether a flag lets letters match in any case, here or before.
    any_case: bool,
    /// What the classes cost.
    units: u64,
}

impl Translator {
    /// Takes one thing off the front; what is left.
    fn step<'p>(&mut self, rest: &'p str) -> Result<&'p str, String> {
        let repeated = std::mem::take(&mut self.repeated);
        let mut chars = rest.chars();
        match chars.next().unwrap_or_default() {
            '(' => return self.open(rest),
            ')' => self.close()?,
            '|' => {
                self.write("|");
                self.operand = false;
            }
            anchor @ ('^' | '$' | '.') => self.operand(anchor.encode_utf8(&mut [0; 4])),
            '[' => {
                let (class, rest) = class::bracketed(rest, self.behind_names)?;
                self.class(&class.text, &class);
                return Ok(rest);
            }
            '*' | '+' | '?' => return self.repeat(rest, 1, None, repeated),
            '{' => match counts(rest) {
                Some((length, counts)) => return self.repeat(rest, length, Some(counts), repeated),
                None => self.operand(&literal('{')),
            },
            '\\' => return self.escaped(rest),
            char => self.operand(&literal(char)),
        }
        Ok(chars.as_str())
    }

    fn write(&mut self, text: &str) {
        self.out.push_str(&self.flags);
        self.flags.clear();
        self.out.push_str(text);
    }

    /// Writes something that may be repeated.
    fn operand(&mut self, text: &str) {
        self.write(text);
        self.operand = true;
        self.operand_repeats = false;
        self.repeats = 1;
    }

    fn class(&mut self, text: &str, items: &Items) {
        self.units += items.units(self.any_case);
        self.operand(text);
    }

    fn open<'p>(&mut self, rest: &'p str) -> Result<&'p str, String> {
        let Some(inside) = rest.strip_prefix("(?") else {
            self.open_group("");
            return Ok(&rest[1..]);
        };
        let looks_behind = inside.starts_with("<=") || inside.starts_with("<!");
        match inside.strip_prefix("P<").or_else(|| inside.strip_prefix('<').filter(|_| !looks_behind)) {
            Some(name) => self.open_named(name),
            None => self.flags(inside),
        }
    }

    fn open_group(&mut self, flags: &str) {
        self.write("(?");
        self.out.extend([flags, ":"]);
        self.groups.push(std::mem::replace(&mut self.repeats_in_group, 1));
        self.operand = false;
    }

    fn open_named<'p>(&mut self, named: &'p str) -> Result<&'p str, String> {
        let (name, rest) = named.split_once('>').ok_or("the name of a group ends with `>`")?;
        if !GROUP_NAME.is_match(name) {
            return Err(format!("`{}` is no name of a group", quoted(name)));
        }
        self.open_group("");
        Ok(rest)
    }

    /// Takes flags off the front, which end with `)` or, where they are a group's own, with `:`.
    fn flags<'p>(&mut self, inside: &'p str) -> Result<&'p str, String> {
        let end = inside.find([':', ')']).ok_or(UNCLOSED)?;
        let (written, rest) = inside.split_at(end);
        let unknown = || format!("`(?{}` begins no group that RE2 knows", quoted(written));
        let (on, off) = written.split_once('-').unwrap_or((written, ""));
        let known = |flags: &str| flags.chars().all(|flag| flag == 'U' || FLAGS.contains(&flag));
        if !known(on) || !known(off) || written.ends_with('-') {
            return Err(unknown());
        }
        self.any_case |= on.contains('i');
        let without: String = FLAGS.into_iter().filter(|flag| off.contains(*flag)).collect();
        let mut flags: String =
            FLAGS.into_iter().filter(|flag| on.contains(*flag) && !off.contains(*flag)).collect();
        if !without.is_empty() {
            flags.extend(["-", &without]);
        }
        match rest.strip_prefix(':') {
            Some(rest) => {
                self.open_group(&flags);
                Ok(rest)
            }
            None => {
                if !flags.is_empty() {
                    self.flags.extend(["(?", &flags, ")"]);
                }
                Ok(&rest[1..])
            }
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let outside = self.groups.pop().ok_or("`)` closes no group")?;
        self.operand(")");
        self.repeats = self.repeats_in_group;
        self.repeats_in_group = outside.max(self.repeats);
        Ok(())
    }

    /// Takes a repetition of `length` bytes off the front.
    fn repeat<'p>(
        &mut self,
        rest: &'p str,
        length: usize,
        counts: Option<Counts>,
        repeated: bool,
    ) -> Result<&'p str, String> {
        let (operator, rest) = rest.split_at(length);
        if repeated {
            return Err(format!("`{operator}` follows another repetition; put what it repeats into `(?:…)`"));
        }
        if !self.operand {
            return Err(format!("`{operator}` has nothing to repeat"));
        }
        if let Some((least, most)) = counts {
            let greatest = most.unwrap_or(least);
            if greatest < least || greatest > REPEAT_MAX {
                return Err(format!("`{operator}` must be in order, at most {REPEAT_MAX}"));
            }
            self.repeats *= greatest.max(1);
            if greatest >= 2 && self.repeats > REPEAT_MAX {
                return Err(format!(
                    "`{operator}` makes more than {REPEAT_MAX} repetitions with what it repeats"
                ));
            }
            self.repeats_in_group = self.repeats_in_group.max(self.repeats);
        }
        // Behind another repetition, `?` would say that that one prefers less.
        self.out.push_str(if self.operand_repeats && operator == "?" { "{0,1}" } else { operator });
        self.operand_repeats = true;
        self.repeated = true;
        Ok(rest.strip_prefix('?').unwrap_or(rest))
    }

    fn escaped<'p>(&mut self, rest: &'p str) -> Result<&'p str, String> {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (quoted, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            quoted.chars().for_each(|char| self.operand(&literal(char)));
            return Ok(rest);
        }
        let (escaped, rest) = escape::outside(rest)?;
        match escaped {
            Escape::Char(code) => self.operand(&class::of_code(code)),
            Escape::Class(items) => self.class(&class::positive(&items.text), &items),
            Escape::Place(place) => self.operand(place),
        }
        Ok(rest)
    }
}

/// The least count, and the greatest where there is one.
type Counts = (u32, Option<u32>);

/// The counts at the front, as in `{2,5}`, and how many bytes they take; `None` where the bracket is a literal.
fn counts(rest: &str) -> Option<(usize, Counts)> {
    let (least, behind) = count(&rest[1..])?;
    let (most, behind) = match behind.strip_prefix(',') {
        None => (Some(least), behind),
        Some(behind) => match count(behind) {
            None => (None, behind),
            Some((most, behind)) => (Some(most), behind),
        },
    };
    let behind = behind.strip_prefix('}')?;
    Some((rest.len() - behind.len(), (least, most)))
}

/// The count at the front, and what is behind it. No more digits are looked at than a count may have.
fn count(rest: &str) -> Option<(u32, &str)> {
    let length = rest.bytes().take(COUNT_DIGITS_MAX + 1).take_while(u8::is_ascii_digit).count();
    let (digits, behind) = rest.split_at(length);
    let known = length <= COUNT_DIGITS_MAX && (length == 1 || !digits.starts_with('0'));
    Some((digits.parse().ok().filter(|_| known)?, behind))
}
