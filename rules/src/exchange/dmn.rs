//! Reading DMN 1.3 and later: the decision tables of a `definitions` document.
//!
//! Part of [`super`]. Boxed expressions other than tables, business knowledge and diagrams are not tables and are remarked on.

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value as Json;

use super::ExchangeError;
use super::feel::{self, Dialect};
use super::sheet::{Sheet, SheetRow, result};

/// What a namespace of DMN contains, whatever its version.
const NAMESPACE: &str = "omg.org/spec/DMN/";
/// The `expressionLanguage` of texts that are ours as they stand.
pub(super) const CEL: &str = "https://github.com/google/cel-spec";
/// Elements of a document; one with more is refused.
const NODES_MAX: u32 = 500_000;

pub(super) fn read(document: &str, remarks: &mut Vec<String>) -> Result<Vec<Sheet>, ExchangeError> {
    // No document type definitions: nothing to expand, nothing to fetch.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(document, options)
        .map_err(|error| ExchangeError::new(format!("it is no XML that can be read: {error}")))?;
    let root = document.root_element();
    let dmn = root.tag_name().namespace().is_some_and(|namespace| namespace.contains(NAMESPACE));
    if !dmn || root.tag_name().name() != "definitions" {
        return Err(ExchangeError::new("the root is not the `definitions` of a DMN document"));
    }
    let mut sheets: Vec<Sheet> = Vec::new();
    let mut decided: Vec<(String, String)> = Vec::new();
    for decision in elements(root, "decision") {
        let name = decision.attribute("name").or(decision.attribute("id")).unwrap_or("decision");
        let Some(table) = elements(decision, "decisionTable").next() else {
            remarks.push(format!("the decision `{name}` is no table and was left out"));
            continue;
        };
        let id = decision.attribute("id").unwrap_or(name);
        let sheet =
            sheet(id, table, remarks).map_err(|error| error.within(format!("the decision `{name}`")))?;
        let path = format!("outcomes.{}", name_of(id));
        let key = sheet.outputs.first().map_or("value", String::as_str);
        decided.push((name.to_owned(), format!("{path}.{key}")));
        sheets.push(sheet);
    }
    // A decision reads another one by its name; here that is an outcome.
    for input in sheets.iter_mut().flat_map(|sheet| &mut sheet.inputs) {
        if let Some((_, outcome)) = decided.iter().find(|(name, _)| input.trim_matches('`') == name) {
            *input = outcome.clone();
        }
    }
    Ok(sheets)
}

fn elements<'a, 'd>(of: Node<'a, 'd>, name: &'static str) -> impl Iterator<Item = Node<'a, 'd>> {
    of.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The text of an expression element, and whether it is ours already. It is FEEL otherwise: texts of other languages are refused.
fn text_of(expression: Option<Node<'_, '_>>) -> Result<(String, bool), ExchangeError> {
    let Some(expression) = expression else { return Ok((String::new(), false)) };
    let text = elements(expression, "text").next().map(|text| {
        text.descendants()
            .filter_map(|node| node.is_text().then(|| node.text()).flatten())
            .collect::<String>()
    });
    let text = text.unwrap_or_default().trim().to_owned();
    let root = expression.document().root_element();
    let language =
        expression.attribute("expressionLanguage").or_else(|| root.attribute("expressionLanguage"));
    match language.map(str::trim).unwrap_or_default() {
        CEL => Ok((text, true)),
        // FEEL has had an address in each version of the standard; tools also name it without one.
        feel if matches!(feel, "" | "feel" | "FEEL") || feel.contains("omg.org/spec/") => Ok((text, false)),
        _ if text.is_empty() => Ok((text, false)),
        other => Err(ExchangeError::new(format!(
            "`{text}` is written in `{other}`, which has no counterpart here"
        ))),
    }
}

fn sheet(id: &str, table: Node<'_, '_>, remarks: &mut Vec<String>) -> Result<Sheet, ExchangeError> {
    let outputs: Vec<Node<'_, '_>> = elements(table, "output").collect();
    let hit = hit(id, table, remarks)?;
    let mut inputs = Vec::new();
    for (at, input) in elements(table, "input").enumerate() {
        inputs.push(expression(input).map_err(|error| error.within(format!("input {}", at + 1)))?);
    }
    let named =
        |output: &Node<'_, '_>| output.attribute("name").or(output.attribute("label")).map(str::to_owned);
    let names: Vec<String> = match outputs.as_slice() {
        [only] => named(only).into_iter().collect(),
        several => several
            .iter()
            .zip(1..)
            .map(|(output, at)| named(output).unwrap_or_else(|| format!("output{at}")))
            .collect(),
    };
    let ranks = if hit == "priority" { ranks(id, &outputs, remarks)? } else { Vec::new() };
    let mut rows = Vec::new();
    for (at, rule) in elements(table, "rule").enumerate() {
        let row = row(rule, &inputs, outputs.len(), &ranks)
            .map_err(|error| error.within(format!("rule {}", at + 1)))?;
        rows.push(row);
    }
    let mut defaults = Vec::new();
    for output in &outputs {
        let (text, _) = text_of(elements(*output, "defaultOutputEntry").next())?;
        defaults.push(feel::output(&text)?);
    }
    let otherwise = defaults.iter().any(Option::is_some).then(|| result(&names, &defaults));
    Ok(Sheet { id: name_of(id), hit, inputs, outputs: names, rows, otherwise })
}

/// What an input evaluates.
fn expression(input: Node<'_, '_>) -> Result<String, ExchangeError> {
    let (text, ours) = text_of(elements(input, "inputExpression").next())?;
    let text = if text.is_empty() { input.attribute("label").unwrap_or_default().to_owned() } else { text };
    if ours { Ok(text) } else { feel::input(&text, Dialect::Feel) }
}

/// An id that `outcomes.<id>` can be written with.
fn name_of(id: &str) -> String {
    let letters = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    letters.collect()
}

fn hit(id: &str, table: Node<'_, '_>, remarks: &mut Vec<String>) -> Result<String, ExchangeError> {
    let aggregation = table.attribute("aggregation").unwrap_or_default();
    let plain = match table.attribute("hitPolicy").unwrap_or("UNIQUE") {
        "UNIQUE" => "unique",
        "FIRST" => "first",
        "PRIORITY" => "priority",
        "ANY" => {
            remarks.push(format!(
                "`{id}`: rows that match together must agree under ANY; here the first counts"
            ));
            "first"
        }
        "RULE ORDER" => "collect",
        "COLLECT" => match aggregation {
            "" => "collect",
            "SUM" => "collect sum",
            "MIN" => "collect min",
            "MAX" => "collect max",
            "COUNT" => "collect count",
            other => return Err(ExchangeError::new(format!("there is no aggregation `{other}`"))),
        },
        other => return Err(ExchangeError::new(format!("the hit policy `{other}` has no counterpart here"))),
    };
    Ok(plain.to_owned())
}

/// The values of the first output in order of priority, highest first. Without them nothing would tell the rows apart.
fn ranks(id: &str, outputs: &[Node<'_, '_>], remarks: &mut Vec<String>) -> Result<Vec<Json>, ExchangeError> {
    if outputs.len() > 1 {
        remarks.push(format!("`{id}`: only its first output decides the priority of a row"));
    }
    let (text, _) = text_of(outputs.first().and_then(|output| elements(*output, "outputValues").next()))?;
    match feel::output(&format!("[{text}]")) {
        Ok(Some(Json::Array(values))) if !values.is_empty() => Ok(values),
        _ => {
            Err(ExchangeError::new("PRIORITY needs the list of `outputValues` of its first output, literals"))
        }
    }
}

fn row(
    rule: Node<'_, '_>,
    inputs: &[String],
    outputs: usize,
    ranks: &[Json],
) -> Result<SheetRow, ExchangeError> {
    let entries: Vec<Node<'_, '_>> = elements(rule, "inputEntry").collect();
    if entries.len() != inputs.len() {
        return Err(ExchangeError::new("it has not one entry an input"));
    }
    let mut when = Vec::with_capacity(inputs.len());
    for (entry, input) in entries.into_iter().zip(inputs) {
        let (text, ours) = text_of(Some(entry))?;
        when.push(if ours { text } else { feel::cell(&text, Dialect::Feel, Some(input))? });
    }
    let then: Vec<Option<Json>> = elements(rule, "outputEntry")
        .map(|entry| feel::output(&text_of(Some(entry))?.0))
        .collect::<Result<_, _>>()?;
    if then.len() != outputs {
        return Err(ExchangeError::new("it has not one entry an output"));
    }
    let first = then.first().cloned().flatten();
    let rank = first.and_then(|value| ranks.iter().position(|known| *known == value));
    let description = elements(rule, "description").next().and_then(|node| node.text());
    Ok(SheetRow {
        when,
        then,
        description: description.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
        priority: rank.map_or(0.0, |rank| (ranks.len() - rank) as f64),
    })
}
