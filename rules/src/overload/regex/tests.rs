//! What RE2 says of patterns, one by one. Every line was asked of `google-re2` 1.1.20251105 (PyPI), whose answers are in the table.

use super::*;

fn is_match(pattern: &str, text: &str) -> bool {
    compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
}

#[test]
fn patterns_match_what_re2_matches_and_nothing_else() {
    for (pattern, matching, other) in TABLE {
        for text in *matching {
            assert!(is_match(pattern, text), "`{pattern}` matches {text:?}");
        }
        for text in *other {
            assert!(!is_match(pattern, text), "`{pattern}` does not match {text:?}");
        }
    }
}

type Line = (&'static str, &'static [&'static str], &'static [&'static str]);

const TABLE: &[Line] = &[
    // Perl's classes are ASCII; what they leave is a whole character.
    (r"^\d$", &["1"], &["१", "٣", "a"]),
    (r"^\D$", &["१", "é", "😀", "a"], &["1", "éé"]),
    (r"^\w+$", &["aZ_9"], &["é", "aé"]),
    (r"^\W$", &["é", "-", "😀"], &["a", "éé", "ae"]),
    (r"^\s$", &[" ", "\t", "\n", "\u{c}", "\r"], &["\u{b}", "\u{a0}", "\u{2003}"]),
    (r"^\S$", &["\u{a0}", "\u{b}", "é"], &[" "]),
    (r"^[\d]$", &["7"], &["१"]),
    (r"^[\D]$", &["१"], &["7"]),
    (r"^[^\d]$", &["१"], &["7"]),
    (r"^[^\D]$", &["7"], &["१", "é"]),
    (r"^[^\W_]+$", &["a1"], &["_", "é"]),
    (r"^[\s\S]$", &["é", "\n"], &["éé"]),
    (r"^[^\s\S]$", &[], &["é", "a", ""]),
    (r"(?i)^\w$", &["ſ", "\u{212a}", "K"], &["é"]),
    (r"(?i)^\W$", &["é"], &["ſ", "k"]),
    (r"\bb", &["éb", "a b"], &["ab"]),
    (r"a\b", &["aé", "a"], &["ab"]),
    (r"a\B", &["ab"], &["aé"]),
    (r"\B", &["", "é", "ab"], &["a"]),
    (r"é\Bé", &["éé"], &["é"]),
    // Brackets know no sets.
    (r"^[a&&b]+$", &["a&b"], &["c"]),
    (r"^[a-c&&b]$", &["a", "&"], &["d"]),
    (r"^[+--]$", &["+", ",", "-"], &["*", "."]),
    (r"^[a~~b]$", &["~", "a", "b"], &["c"]),
    (r"^[[]$", &["["], &["]"]),
    (r"^[[a]$", &["[", "a"], &["]"]),
    (r"^[[a]]$", &["a]", "[]"], &["a"]),
    (r"^[^[\]]*$", &["ab"], &["a[", "a]"]),
    (r"^[]a]$", &["]", "a"], &["b"]),
    (r"^[^]a]$", &["b", "[", "\n"], &["]", "a"]),
    (r"^[\w-.]$", &["-", ".", "a"], &["/"]),
    (r"^[\d-z]$", &["-", "z", "1"], &["a"]),
    (r"^[a-]$", &["a", "-"], &["b"]),
    (r"^[-a]$", &["a", "-"], &["b"]),
    (r"^[--/]$", &["-", ".", "/"], &["0"]),
    (r"^[#-%]$", &["#", "$", "%"], &["&"]),
    (r"^[\]\-\\]$", &["]", "-", "\\"], &["["]),
    (r"^[[:alpha:]]$", &["a", "Z"], &["é", "1", ":"]),
    (r"^[[:^alpha:]]$", &["é", "1"], &["a"]),
    (r"^[^[:space:]\d]$", &["a", "é"], &[" ", "1", "\u{b}"]),
    (r"^[[:word:][:punct:]]$", &["_", "!"], &[" "]),
    (r"^[[:alpha]$", &["[", ":", "a"], &["b"]),
    (r"^[[.a.]]$", &[".]", "a]", "[]"], &["a"]),
    (r"^[a-zé]$", &["é", "q"], &["è"]),
    (r"^[\x{D800}-\x{E000}]$", &["\u{e000}"], &["\u{d7ff}"]),
    (r"\x{D800}", &[], &["a", "\u{fffd}"]),
    // Unicode by name.
    (r"^\pL$", &["é", "a"], &["1"]),
    (r"^\p{Lu}\P{Lu}$", &["Éé"], &["éÉ"]),
    (r"^\p{^Lu}$", &["é"], &["É"]),
    (r"^\P{^Lu}$", &["É"], &["é"]),
    (r"^[\p{Greek}\d]$", &["α", "1"], &["a"]),
    (r"^[^\PN]$", &["१"], &["a"]),
    (r"^\pC$", &["\u{7}", "\u{e000}"], &["\u{378}", "a"]),
    (r"^\p{Cs}$", &[], &["a"]),
    (r"^\P{Cs}$", &["a"], &[]),
    (r"^\p{Any}$", &["\n", "é"], &[""]),
    (r"(?i)^\p{Lu}$", &["é"], &["1"]),
    // Literals.
    (r"^{$", &["{"], &[""]),
    (r"^a{,2}$", &["a{,2}"], &["a", "aa"]),
    (r"^a{x}$", &["a{x}"], &["a"]),
    (r"^a{01}$", &["a{01}"], &["a"]),
    (r"^a{1000000000}$", &["a{1000000000}"], &["a"]),
    (r"^}]$", &["}]"], &["}"]),
    (r"^\_\<\>\-\#\ $", &["_<>-# "], &["_"]),
    (r"^\x41\x{1F600}\101\0$", &["A😀A\0"], &["A"]),
    (r"^\a\f\n\r\t\v$", &["\u{7}\u{c}\n\r\t\u{b}"], &["a"]),
    (r"^\Qa.b\E.$", &["a.bc"], &["axbc"]),
    (r"^\Qa\Eb\Qc", &["abc"], &["ab"]),
    (r"^\Qab\E*$", &["abb", "a"], &["abab"]),
    // Places, groups, flags, counts.
    (r"^a$", &["a"], &["a\n", "b\na"]),
    (r"(?m)^a$", &["b\na\nc"], &["ba"]),
    (r"a.b", &["aéb"], &["a\nb"]),
    (r"(?s)a.b", &["a\nb"], &["ab"]),
    (r"(?i-s:A).", &["ab"], &["a\n"]),
    (r"(?i)a(?-i)b|C", &["Ab", "C"], &["AB", "c"]),
    (r"^(?:(?i)a)a$", &["Aa"], &["AA"]),
    (r"^(?U)a+?b$", &["aab"], &["b"]),
    (r"^(?iU-m:a)$", &["A"], &["b"]),
    (r"^(?P<jahr>\d{4})-(?<tag>\d+)$", &["2026-1"], &["26-1"]),
    (r"^(a|b|)c$", &["ac", "bc", "c"], &["abc"]),
    (r"^()*$", &[""], &["a"]),
    (r"^*a", &["a", "ba"], &["b"]),
    (r"^a(?i)*b$", &["aaB", "b"], &["Ab"]),
    // What flags or an empty quote keep apart repeats the repetition before it.
    (r"^a+(?i)?$", &["", "a", "aaa"], &["b"]),
    (r"^a{2}(?U)?$", &["", "aa"], &["a", "aaa"]),
    (r"^a+\Q\E?$", &["", "a", "aaa"], &["b"]),
    (r"^a+(?i)*$", &["", "a", "aaa"], &["b"]),
    (r"^a*(?i)+$", &["", "a", "aaa"], &["b"]),
    (r"^a{2}(?i){3}$", &["aaaaaa"], &["aa", "aaaaa", "aaaaaaa"]),
    (r"^a{2}\Q\E{3}$", &["aaaaaa"], &["aa", "aaaaa", "aaaaaaa"]),
    (r"^a?(?i){2}$", &["", "a", "aa"], &["aaa"]),
    (r"^a+?(?i)?$", &["", "a", "aaa"], &["b"]),
    (r"^a+(?i)??b$", &["b", "aB"], &["Ab"]),
    (r"^a+(?i)?(?i)*$", &["", "a", "aaa"], &["A"]),
    (r"^a{2,}?$", &["aa", "aaa"], &["a"]),
    (r"^(?:ab?){2}$", &["aba", "abab"], &["ab"]),
    (r"^é{2}$", &["éé"], &["é"]),
    (r"", &["", "a"], &[]),
];

#[test]
fn what_re2_refuses_is_refused() {
    let too_deep = format!("{}{}", "(?:a{10}".repeat(4), "){10}".repeat(4));
    for pattern in [
        r"a**",
        r"a*+",
        r"a+++",
        r"a???",
        r"a{2}{3}",
        r"a{2}*",
        r"*",
        r"+a",
        r"(*a)",
        r"a|*",
        r"(?i)*",
        r"a{1001}",
        r"a{2,1}",
        r"(?:a{100}){11}",
        r"a{100}(?i){11}",
        r"[[:a b:]]",
        r"[[:a]b:]]",
        &too_deep,
        r"(a",
        r"a)",
        r"(?i",
        r"(?i:a",
        r"[a",
        r"[]",
        r"[^]",
        r"[[:alpha:]",
        r"[[:foo:]]",
        r"[z-a]",
        r"[a--b]",
        r"[a-\d]",
        r"[\b]",
        r"[\A]",
        r"[\Qa\E]",
        r"\1",
        r"\8",
        r"\e",
        r"\Z",
        r"\G",
        r"\h",
        r"\R",
        r"\X",
        r"\u0061",
        r"\U00000061",
        r"\cA",
        r"\é",
        r"\",
        r"\xF",
        r"\x{}",
        r"\x{110000}",
        r"\x{+1}",
        r"\p{greek}",
        r"\p{Grek}",
        r"\p{Cn}",
        r"\p{LC}",
        r"\p{L&}",
        r"\p{Alphabetic}",
        r"\p{sc=Greek}",
        r"\p{",
        r"\pé",
        r"\p",
        r"(?x)a",
        r"(?u)a",
        r"(?R)a",
        r"(?i-)a",
        r"(?-)a",
        r"(?--i)a",
        r"(?^i)a",
        r"(?=a)",
        r"(?!a)",
        r"(?<=a)",
        r"(?<!a)",
        r"(?>a)",
        r"(?#a)",
        r"(?P=n)",
        r"(?P<>a)",
        r"(?P<a b>c)",
        r"(?P<²>a)",
        r"(?P<a",
        r"\C",
    ] {
        let error = compile(pattern).err().unwrap_or_else(|| panic!("`{pattern}` is taken"));
        assert!(
            error.message().starts_with("not a regular expression that can be used: "),
            "{pattern}: {error}"
        );
    }
}

#[test]
fn a_refusal_says_what_would_be_right() {
    for (pattern, told) in [
        ("a**", "`*` follows another repetition; put what it repeats into `(?:…)`"),
        ("(?x)a", "`(?x` begins no group that RE2 knows"),
        ("\\u0061", "`\\u` has no meaning in RE2"),
        ("[z-a]", "the range up to `a` has no characters"),
        ("(a", "a group is not closed; `)` is missing"),
        (&format!("[[:{:a>99}:]]", ""), &format!("`[:{:a>78}…` is no class of characters", "")),
        (
            &format!("\\p{{{:a>99}}}", ""),
            &format!("`{:a>80}…` is no category or script of Unicode that RE2 knows", ""),
        ),
        (&format!("(?P<{:²>99}>a)", ""), &format!("`{:²>80}…` is no name of a group", "")),
        (&format!("(?{:a>99})", ""), &format!("`(?{:a>80}…` begins no group that RE2 knows", "")),
    ] {
        let error = compile(pattern).expect_err(pattern);
        assert_eq!(error.message(), format!("not a regular expression that can be used: {told}"));
    }
}

/// A submission may supply the pattern. Each of these begins something at every other character that ends nowhere.
#[test]
fn what_begins_often_and_never_ends_is_read_once() {
    let many = |text: &str| text.repeat(PATTERN_BYTES_MAX / text.len());
    for (pattern, translated) in [
        (many("{"), Ok(r"\{")),
        (many("{1,"), Ok(r"\{1,")),
        (many("[[:a]"), Ok(r"[\x{5B}-\x{5B}\x{3A}-\x{3A}\x{61}-\x{61}]")),
        (many("[[:]"), Err("`[:][[:]` is no class of characters")),
        (many("[:"), Err("a class is not closed; `]` is missing")),
        (format!("{}{}", "{".repeat(100), "1".repeat(100)), Ok("")),
        (many("[[:"), Err("a class is not closed; `]` is missing")),
        (many("(?"), Err("a group is not closed; `)` is missing")),
        (many("(?P<"), Err("the name of a group ends with `>`")),
        (many("\\p{"), Err("`}` is missing behind `\\p{`")),
    ] {
        let read = Pattern::read(&pattern).map(|read| read.translated).map_err(|error| error.to_string());
        match (read, translated) {
            (Ok(read), Ok("")) => assert_eq!(read, format!("{}{}", r"\{".repeat(100), "1".repeat(100))),
            (Ok(read), Ok(each)) => assert!(read == each.repeat(read.len() / each.len()) && !read.is_empty()),
            (Err(error), Err(told)) => assert!(error.contains(told), "{error}"),
            (read, _) => panic!("{:.20}: {read:.100?}", pattern),
        }
    }
    let error = compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).expect_err("too long");
    assert!(error.message().ends_with("it has 65537 bytes; at most 65536 are allowed"), "{error}");
}

/// The crate looks for the other case of every character of a class.
#[test]
fn classes_cost_by_what_is_looked_at_in_the_tables_of_unicode() {
    let units = |pattern: &str| Pattern::read(pattern).expect("a pattern").units();
    for cheap in [
        "abc",
        "[a-z]+",
        "(?i)[a-z]+",
        r"(?i)\W\d",
        r"[é\W]",
        "[^a]",
        "(?i)[^a]",
        "(?i).",
        "(?i)[^[:^alpha:]]",
    ] {
        assert!(units(cheap) < 50, "{cheap}: {}", units(cheap));
    }
    for (dear, least) in [
        (r"\pL", 200),
        (r"[\pL\pN]", 400),
        (r"(?i)\pL", 9_000),
        (r"(?i)[é\W]", 60_000),
        (r"(?i)[\x00-\x{10FFFF}]", 60_000),
        (r"(?i)[é\W][é\W]", 120_000),
    ] {
        assert!(units(dear) > least, "{dear}: {}", units(dear));
    }
}
