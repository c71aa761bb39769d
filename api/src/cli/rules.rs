//! `formledger rules`: a form definition checked, or expressions evaluated, without a server.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use formledger_domain::{FormDefinition, parse_exact};
use formledger_rules::dynamic::eval_ndjson_case;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::RulesCommand;

/// Runs one of the tools.
pub fn rules(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Check { form } => check(form),
        RulesCommand::Eval => eval(std::io::stdin().lock(), std::io::stdout().lock()),
    }
}

/// Prints each problem as a line of JSON; exit 1 when one of them stands in the way of publishing.
fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let named = || format!("`{}`", path.display());
    let definition = parse_exact(&std::fs::read(path).with_context(named)?).with_context(named)?;
    // Problems do not depend on the id that the form will have.
    let problems = FormDefinition::problems(&definition, &"checked".parse()?);
    for problem in &problems {
        println!("{}", serde_json::to_string(problem)?);
    }
    Ok(if problems.iter().any(|problem| problem.is_error()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line of input.
#[derive(Deserialize)]
struct Case {
    expr: String,
    #[serde(default)]
    bindings: Value,
}

/// Answers each line with a line: `{"value":…}` or `{"error":…}`.
fn eval(input: impl BufRead, mut output: impl Write) -> anyhow::Result<ExitCode> {
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str::<Case>(&line) {
            Ok(case) => match eval_ndjson_case(&case.expr, &case.bindings) {
                Ok(value) => json!({"value": value}),
                Err(error) => json!({"error": error}),
            },
            Err(error) => json!({"error": format!("the line is not a case: {error}")}),
        };
        writeln!(output, "{answer}")?;
        // Each answer at once: the other side may be waiting for it before it sends the next case.
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_its_answer_in_order() {
        let input = concat!(
            "{\"expr\": \"a + 1\", \"bindings\": {\"a\": {\"int64Value\": \"2\"}}}\n",
            "{\"expr\": \"1 / 0\"}\n",
            "not json\n",
        );
        let mut output = Vec::new();
        eval(input.as_bytes(), &mut output).expect("runs");
        let text = String::from_utf8(output).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0], json!({"value": {"int64Value": "3"}}));
        assert!(lines[1]["error"].is_string() && lines[2]["error"].is_string());
        assert_eq!(lines.len(), 3);
    }
}
