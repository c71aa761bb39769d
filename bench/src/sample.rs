//! One request's outcome, and the CSV that holds a run of them.
//!
//! `load` writes the file after the run, `check` reads it. The columns are a contract with anyone's plotting script:
//! `intended_us,start_us,latency_us,status,bytes`, times in microseconds from the end of warm-up, in intended order.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail, ensure};

/// First line of every samples file.
pub const CSV_HEADER: &str = "intended_us,start_us,latency_us,status,bytes";

/// The status of a request that got no HTTP answer: connection lost, refused, or still open when the run was given up.
pub const NO_ANSWER: u16 = 0;

/// What happened to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the schedule wanted it sent (closed loop: when its connection was free).
    pub intended_us: u64,
    /// When it was sent. Later than intended when every connection was busy, or the generator late.
    pub start_us: u64,
    /// From *intended* to the last byte of the answer.
    pub latency_us: u64,
    /// HTTP status, or [`NO_ANSWER`].
    pub status: u16,
    /// Bytes of the answer, head and body.
    pub bytes: u32,
}

/// Writes all samples as CSV.
///
/// # Errors
/// Whatever `out` says.
pub fn write_csv(samples: &[Sample], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{CSV_HEADER}")?;
    for sample in samples {
        let Sample { intended_us, start_us, latency_us, status, bytes } = sample;
        writeln!(out, "{intended_us},{start_us},{latency_us},{status},{bytes}")?;
    }
    out.flush()
}

/// Reads what [`write_csv`] wrote.
///
/// # Errors
/// Another header, or a line that is not five numbers; the message names the line.
pub fn read_csv(input: impl BufRead) -> Result<Vec<Sample>> {
    let mut lines = input.lines();
    match lines.next() {
        Some(header) => ensure!(header? == CSV_HEADER, "line 1: the header must be `{CSV_HEADER}`"),
        None => bail!("the file is empty"),
    }
    let mut samples = Vec::new();
    for (index, line) in lines.enumerate() {
        let line = line?;
        samples.push(parse(&line).with_context(|| format!("line {}: `{line}`", index + 2))?);
    }
    Ok(samples)
}

fn parse(line: &str) -> Result<Sample> {
    let mut fields = line.split(',');
    let mut next = |name: &str| fields.next().with_context(|| format!("`{name}` is missing"));
    let sample = Sample {
        intended_us: next("intended_us")?.parse().context("`intended_us`")?,
        start_us: next("start_us")?.parse().context("`start_us`")?,
        latency_us: next("latency_us")?.parse().context("`latency_us`")?,
        status: next("status")?.parse().context("`status`")?,
        bytes: next("bytes")?.parse().context("`bytes`")?,
    };
    ensure!(fields.next().is_none(), "more than five fields");
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let samples = [
            Sample { intended_us: 0, start_us: 3, latency_us: 812, status: 201, bytes: 430 },
            Sample { intended_us: 116, start_us: 120, latency_us: 30_000_000, status: NO_ANSWER, bytes: 0 },
        ];
        let mut file = Vec::new();
        write_csv(&samples, &mut file).unwrap();
        assert_eq!(
            file,
            b"intended_us,start_us,latency_us,status,bytes\n0,3,812,201,430\n116,120,30000000,0,0\n"
        );
        assert_eq!(read_csv(&file[..]).unwrap(), samples);
    }

    #[test]
    fn a_damaged_file_is_refused_at_its_line() {
        for (text, message) in [
            ("", "empty"),
            ("a,b\n", "line 1"),
            ("1,2,3,201\n", "line 2"),
            ("1,2,3,201,5,6\n", "line 2"),
            ("1,2,-3,201,5\n", "line 2"),
        ] {
            let file = if text.is_empty() || text.starts_with('a') {
                text.into()
            } else {
                format!("{CSV_HEADER}\n{text}")
            };
            let error = format!("{:#}", read_csv(file.as_bytes()).unwrap_err());
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
