//! Server-sent events as the HTML standard defines them (section 9.2.6), from bytes that may be cut anywhere.
//! Used by the feed reader; kept apart so that it can be proven on its own.

/// What a stream of server-sent events carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A line that begins with a colon, without it.
    Comment(String),
    /// A dispatched event.
    Event {
        /// The `id` field.
        id: Option<String>,
        /// The `event` field.
        event: Option<String>,
        /// The `data` fields, joined by line feeds.
        data: String,
    },
}

/// Turns bytes into frames.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

impl SseParser {
    /// Takes the next bytes and returns the frames they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8(line).expect("feeds are UTF-8");
                frames.extend(self.end_line(line.trim_end_matches('\r')));
            } else {
                self.line.push(byte);
            }
        }
        frames
    }

    fn end_line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let (id, event) = (self.id.take(), self.event.take());
            return self.data.take().map(|data| Frame::Event { id, event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Frame::Comment(value.to_owned())),
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, SseParser};

    const STREAM: &[u8] =
        b": start 4\n\nid: 5\nevent: a.b\ndata: {\"x\":\ndata: 1}\n\r\nretry: 10\n:ping\n\ndata:\xc3\xa4\n\n";

    fn whole() -> Vec<Frame> {
        let event = |id: Option<&str>, event: Option<&str>, data: &str| Frame::Event {
            id: id.map(Into::into),
            event: event.map(Into::into),
            data: data.into(),
        };
        vec![
            Frame::Comment("start 4".into()),
            event(Some("5"), Some("a.b"), "{\"x\":\n1}"),
            Frame::Comment("ping".into()),
            event(None, None, "ä"),
        ]
    }

    #[test]
    fn a_stream_cut_at_any_byte_gives_the_same_frames() {
        for cut in 0..=STREAM.len() {
            let mut parser = SseParser::default();
            let mut frames = parser.push(&STREAM[..cut]);
            frames.extend(parser.push(&STREAM[cut..]));
            assert_eq!(frames, whole(), "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_dispatched() {
        let mut parser = SseParser::default();
        assert_eq!(parser.push(b"id: 1\ndata: half\n"), []);
    }
}
