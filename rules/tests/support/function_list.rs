/// What stands before the list in the page.
const START: &str = "<!-- functions: made from the overload table -->\n";
/// What stands behind it.
const END: &str = "<!-- end of functions -->\n";

/// The operators, functions and methods of the language as Markdown, by name.
fn list() -> String {
    let mut sections: [BTreeMap<&str, Vec<String>>; 3] = Default::default();
    let mut fails: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for function in functions() {
        let section = if function.signature.contains(&format!(".{}(", function.name)) {
            2
        } else {
            usize::from(function.signature.starts_with(&format!("{}(", function.name)))
        };
        sections[section].entry(function.name).or_default().push(function.signature);
        let known = fails.entry(function.name).or_default();
        if let Some(why) = function.fails.filter(|why| !known.contains(why)) {
            known.push(why);
        }
    }
    let mut text = String::new();
    for (title, section) in ["Operators", "Functions", "Methods"].iter().zip(&sections) {
        text += &format!("\n### {title}\n");
        for (name, signatures) in section {
            let signatures: Vec<String> = signatures.iter().map(|signature| format!("`{signature}`")).collect();
            let why = match fails[name].as_slice() {
                [] => String::new(),
                why => format!(" *May fail: {}.*", why.join("; ")),
            };
            text += &format!("- **`{}`**: {}.{why}\n", name.trim_end_matches('_'), signatures.join(", "));
        }
    }
    text + "\n"
}
