//! The documentation speaks of what exists: links lead somewhere, commands and options are known, the map shows every folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use formledger_tests::Installation;
use formledger_tests::installation::repository;

/// What git tracks, as paths from the top of the repository.
fn tracked() -> Vec<String> {
    let output = Command::new("git").arg("ls-files").current_dir(repository()).output();
    let output = output.expect("git is installed wherever the repository was cloned");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A tracked Markdown file: its path and its text.
fn pages() -> Vec<(String, String)> {
    let markdown = |path: &String| path.ends_with(".md") && !path.starts_with("tests/data/");
    let read = |path: String| {
        let text = fs::read_to_string(repository().join(&path)).expect("documentation is UTF-8");
        (path, text)
    };
    tracked().into_iter().filter(markdown).map(read).collect()
}

/// The targets of a page's links, `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (page, text) in pages() {
        let folder = Path::new(&page).parent().expect("a file lies in a folder");
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !repository().join(folder).join(target).exists() {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "mend or remove these links:\n{}", broken.join("\n"));
}

/// What a heading is called in a link, as GitHub has it: letters and numbers, hyphens for blanks, nothing of the rest.
fn anchor(heading: &str) -> String {
    let written = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = written.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

#[test]
fn every_link_into_a_page_finds_its_heading() {
    let anchors: BTreeMap<String, BTreeSet<String>> = pages()
        .into_iter()
        .map(|(page, text)| (page, text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()))
        .collect();
    let (mut broken, mut looked_at) = (Vec::new(), 0);
    for (page, text) in pages() {
        let folder = Path::new(&page).parent().expect("a file lies in a folder");
        for link in links(&text).filter(|link| !link.contains("://")) {
            let Some((target, heading)) = link.split_once('#') else { continue };
            let target = if target.is_empty() { PathBuf::from(&page) } else { normal(&folder.join(target)) };
            let Some(anchors) = target.to_str().and_then(|target| anchors.get(target)) else { continue };
            looked_at += 1;
            if !anchors.contains(heading) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(looked_at > 10, "{looked_at} links to headings were found");
    assert!(broken.is_empty(), "no such heading:\n{}", broken.join("\n"));
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn the_readme_shows_every_folder_and_no_other() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("there is a README.md");
    let row = |line: &str| {
        let cell = line.strip_prefix("| ")?.split(" |").next()?;
        let name = cell.rsplit_once("`")?.0.split_once('`')?.1.strip_suffix('/')?;
        Some(name.to_owned())
    };
    let shown: BTreeSet<String> = readme.lines().filter_map(row).collect();
    let folder = |path: String| path.split_once('/').map(|(top, _)| top.to_owned());
    let there: BTreeSet<String> =
        tracked().into_iter().filter_map(folder).filter(|name| !name.starts_with('.')).collect();
    assert_eq!(
        shown, there,
        "README.md: one table row per top folder, beginning with the folder's name as `name/`"
    );
}

/// A command line of the binary as the documentation writes it.
struct Named {
    page: String,
    subcommand: Vec<String>,
    options: Vec<String>,
}

/// Every `formledger …` and `cargo run … -- …` in a page's code spans and blocks.
fn commands(page: &str, text: &str) -> Vec<Named> {
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    blocks.chain(spans).filter_map(|line| command(page, line.trim().trim_start_matches("$ "))).collect()
}

fn command(page: &str, line: &str) -> Option<Named> {
    let cargo =
        || line.strip_prefix("cargo run ").and_then(|rest| rest.split_once("-- ")).map(|(_, rest)| rest);
    let rest = line.strip_prefix("formledger ").or_else(cargo)?;
    let ends = |word: &&str| !matches!(*word, "|" | "||" | "&&" | "&" | "#" | ">" | "<");
    let words =
        || rest.split_whitespace().take_while(ends).map(|word| word.trim_matches(['[', ']', ',', '.', '\\']));
    let levels = if rest.starts_with("rules") { 2 } else { 1 };
    let subcommand: Vec<String> = words().take(levels).map(str::to_owned).collect();
    let is_name = |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    let options = words().filter(|word| word.starts_with("--"));
    let options = options.map(|word| word.split('=').next().unwrap_or_default().to_owned()).collect();
    subcommand.iter().all(is_name).then_some(Named { page: page.to_owned(), subcommand, options })
}

#[tokio::test]
async fn every_command_and_option_in_the_documentation_exists() {
    let installation = Installation::fresh();
    let mut help_of: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut unknown = Vec::new();
    for named in pages().iter().flat_map(|(page, text)| commands(page, text)) {
        let line = named.subcommand.join(" ");
        if !help_of.contains_key(&named.subcommand) {
            let arguments: Vec<&str> =
                named.subcommand.iter().map(String::as_str).chain(["--help"]).collect();
            let finished = installation.run(&arguments).await;
            if finished.code != Some(0) {
                unknown.push(format!("{}: formledger {line}", named.page));
                continue;
            }
            help_of.insert(named.subcommand.clone(), finished.stdout);
        }
        let help = &help_of[&named.subcommand];
        let missing = named.options.iter().filter(|option| !help.contains(*option));
        unknown.extend(missing.map(|option| format!("{}: formledger {line} {option}", named.page)));
    }
    assert!(
        unknown.is_empty(),
        "the binary does not know what the documentation names:\n{}",
        unknown.join("\n")
    );
}

#[test]
fn ci_calls_the_readmes_test_command() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("there is a README.md");
    let ci = fs::read_to_string(repository().join(".ci/run")).expect("there is a .ci/run");
    assert!(
        readme.contains("tests/run") && ci.contains("tests/run"),
        "both name `tests/run`, and nothing else runs tests"
    );
}
