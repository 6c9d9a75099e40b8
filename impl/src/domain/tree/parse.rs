//! Text to tree.

use std::io::Read;

use quick_xml::{Reader, events::Event};

use super::{Attribute, Document, Kind, Limits, Node, NodeId, Span, chars, limits};
use crate::domain::{Error, Problem};

impl Document {
    /// Reads a document with the default limits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, Limits::default())
    }

    /// Reads a document.
    pub fn parse_with(text: &str, limits: Limits) -> Result<Self, Error> {
        let bytes_max = limits.bytes.min(limits::BYTES_MAX);
        if text.len() > bytes_max {
            return Err(too_large(text.as_bytes(), bytes_max));
        }
        // libvirt's files have a node for every twenty bytes or so.
        let mut nodes = Vec::with_capacity(text.len() / 20 + 8);
        nodes.push(Node::new(Kind::Document, Span::default(), NodeId::NONE));
        let attributes = Vec::with_capacity(text.len() / 40 + 8);
        let mut document =
            Self { text: text.to_owned(), read: to_u32(text.len()), nodes, attributes, limits };
        // A byte order mark stays in the text, before the first node.
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        document.nodes[0].head = Span { start: 0, end: to_u32(start) };
        document.parse_text(start, NodeId::DOCUMENT, 0).map_err(|(at, parent, problem)| {
            let (line, column) = super::line_and_column(text, at);
            let path = document.path(parent);
            Error { line, column, path: if path.is_empty() { "/".into() } else { path }, problem }
        })?;
        Ok(document)
    }

    /// Reads a document from bytes, which must be UTF-8.
    pub fn parse_bytes(bytes: &[u8], limits: Limits) -> Result<Self, Error> {
        if bytes.len() > limits.bytes {
            return Err(too_large(bytes, limits.bytes));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_with(text, limits),
            Err(error) => {
                let at = error.valid_up_to();
                let text = String::from_utf8_lossy(&bytes[..at]);
                let (line, column) = super::line_and_column(&text, text.len());
                Err(Error { line, column, path: "/".into(), problem: Problem::NotUtf8(bytes[at]) })
            }
        }
    }

    /// Reads a document from a stream, and not a byte beyond the limit.
    pub fn read(from: impl Read, limits: Limits) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let bytes_max = limits.bytes.min(limits::BYTES_MAX);
        let unreadable = |error: std::io::Error| Error {
            line: 1,
            column: 1,
            path: "/".into(),
            problem: Problem::Read(error.to_string()),
        };
        from.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::parse_bytes(&bytes, limits)
    }

    /// Reads the text from `start` on into nodes below `top`, which is `depth` elements deep.
    /// On failure: offset, parent and problem.
    pub(super) fn parse_text(
        &mut self,
        start: usize,
        top: NodeId,
        depth: usize,
    ) -> Result<(), (usize, NodeId, Problem)> {
        let Self { text, nodes, attributes, limits, .. } = self;
        if let Some((at, code)) = chars::forbidden(&text[start..]) {
            return Err((start + at, top, Problem::Character(code)));
        }
        // quick-xml would pass over a byte order mark and count from behind it.
        if text[start..].starts_with('\u{feff}') {
            return Err((start, top, Problem::OutsideRoot));
        }
        let mut reader = Reader::from_str(&text[start..]);
        reader.config_mut().check_comments = true;
        // Hardly any definition has one, and then no text needs to be searched.
        let brackets = memchr::memchr(b']', &text.as_bytes()[start..]).is_some();
        let mut builder = Builder { nodes, attributes, limits, text, parent: top, depth, brackets };
        let mut from = start;
        loop {
            let event = reader.read_event().map_err(|error| {
                (start + offset(reader.error_position()), builder.parent, syntax(&error))
            })?;
            let to = start + offset(reader.buffer_position());
            let span = Span { start: to_u32(from), end: to_u32(to) };
            let done = matches!(event, Event::Eof);
            builder
                .event(&event, span, top)
                .map_err(|(at, problem)| (at.max(from), builder.parent, problem))?;
            if done {
                return Ok(());
            }
            from = to;
        }
    }
}

/// What is being built, and where the reader is in it.
struct Builder<'a> {
    text: &'a str,
    nodes: &'a mut Vec<Node>,
    attributes: &'a mut Vec<Attribute>,
    limits: &'a Limits,
    parent: NodeId,
    depth: usize,
    /// There is a `]` somewhere.
    brackets: bool,
}

/// Problem, and the offset if it is not where the token starts.
type Failed = (usize, Problem);

impl Builder<'_> {
    fn event(&mut self, event: &Event<'_>, span: Span, top: NodeId) -> Result<(), Failed> {
        match event {
            Event::Start(_) => {
                if self.depth == self.limits.depth {
                    return Err((0, Problem::TooDeep(self.limits.depth)));
                }
                self.parent = self.element(span)?;
                self.depth += 1;
            }
            Event::Empty(_) => {
                if self.depth == self.limits.depth {
                    return Err((0, Problem::TooDeep(self.limits.depth)));
                }
                self.element(span)?;
            }
            Event::End(_) => {
                let node = &mut self.nodes[self.parent.0 as usize];
                node.close = span;
                self.parent = node.parent;
                self.depth -= 1;
            }
            Event::Text(_) => self.characters(span)?,
            Event::GeneralRef(reference) => {
                chars::check_reference(reference).map_err(|problem| (0, problem))?;
                self.characters(span)?;
            }
            Event::CData(_) => {
                self.inside_root()?;
                self.push(Node::new(Kind::CData, span, self.parent))?;
            }
            Event::Comment(_) => {
                self.push(Node::new(Kind::Comment, span, self.parent))?;
            }
            Event::PI(instruction) => {
                let target = instruction.target();
                if !chars::is_name(target) || target.eq_ignore_ascii_case("xml") {
                    return Err((0, Problem::Name(short(target))));
                }
                self.push(Node::new(Kind::Instruction, span, self.parent))?;
            }
            Event::Decl(declaration) => {
                if self.parent != NodeId::DOCUMENT || self.nodes.len() > 1 {
                    return Err((0, Problem::Syntax("the XML declaration is not first".into())));
                }
                declaration.version().map_err(|error| (0, syntax(&error)))?;
                if let Some(encoding) = declaration.encoding() {
                    let encoding = encoding.map_err(|e| (0, Problem::Syntax(e.to_string())))?;
                    if !["utf-8", "utf8", "us-ascii", "ascii"]
                        .iter()
                        .any(|known| encoding.eq_ignore_ascii_case(known))
                    {
                        return Err((0, Problem::Encoding(short(&encoding))));
                    }
                }
                self.push(Node::new(Kind::Instruction, span, self.parent))?;
            }
            Event::DocType(_) => return Err((0, Problem::Doctype)),
            Event::Eof if self.parent != top => {
                let node = &self.nodes[self.parent.0 as usize];
                let name = &self.text[node.head.start as usize + 1..node.head.end as usize];
                return Err((0, Problem::Syntax(format!("`</{}>` is missing", short(name)))));
            }
            Event::Eof if self.parent == NodeId::DOCUMENT && !self.has_root() => {
                return Err((0, Problem::Empty));
            }
            Event::Eof => {}
        }
        Ok(())
    }

    fn has_root(&self) -> bool {
        self.nodes.iter().skip(1).any(|node| node.kind == Kind::Element)
    }

    fn inside_root(&self) -> Result<(), Failed> {
        match self.parent == NodeId::DOCUMENT {
            true => Err((0, Problem::OutsideRoot)),
            false => Ok(()),
        }
    }

    fn push(&mut self, mut node: Node) -> Result<NodeId, Failed> {
        if self.nodes.len() > self.limits.nodes {
            return Err((0, Problem::TooManyNodes(self.limits.nodes)));
        }
        let id = NodeId(to_u32(self.nodes.len()));
        let parent = &mut self.nodes[node.parent.0 as usize];
        node.previous = parent.last;
        node.foreign |= node.kind != Kind::Element && parent.foreign;
        if let Some(previous) = std::mem::replace(&mut parent.last, id).some() {
            self.nodes[previous.0 as usize].next = id;
        } else {
            parent.first = id;
        }
        self.nodes.push(node);
        Ok(id)
    }

    /// Text and references that touch each other are one node.
    fn characters(&mut self, span: Span) -> Result<(), Failed> {
        let raw = self.bytes(span);
        let blank = |b: u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        if self.parent == NodeId::DOCUMENT && !raw.iter().all(|&b| blank(b)) {
            let at = raw.iter().position(|&b| !blank(b)).unwrap_or(0);
            return Err((span.start as usize + at, Problem::OutsideRoot));
        }
        let closes = match self.brackets {
            true => memchr::memmem::find(raw, b"]]>"),
            false => None,
        };
        let start = match self.nodes[self.parent.0 as usize].last.some() {
            Some(last) if self.nodes[last.0 as usize].kind == Kind::Text => {
                let node = &mut self.nodes[last.0 as usize];
                node.head.end = span.end;
                node.head.start as usize
            }
            _ => {
                self.push(Node::new(Kind::Text, span, self.parent))?;
                span.start as usize
            }
        };
        if let Some(at) = closes {
            let at = span.start as usize + at;
            return Err((at.max(start), Problem::Syntax("`]]>` must be written `]]&gt;`".into())));
        }
        Ok(())
    }

    fn element(&mut self, span: Span) -> Result<NodeId, Failed> {
        if self.parent == NodeId::DOCUMENT && self.has_root() {
            return Err((0, Problem::OutsideRoot));
        }
        let (start, end) = (span.start as usize, span.end as usize);
        let name_end = self
            .name(start + 1, end)
            .map_err(|name_end| (start, Problem::Name(short(&self.text[start + 1..name_end]))))?;
        let first = self.attributes.len();
        let tail = self.start_tag(name_end, end, first)?;
        let head = Span { start: span.start, end: to_u32(name_end) };
        let mut node = Node::new(Kind::Element, head, self.parent);
        node.attributes = (to_u32(first), to_u32(self.attributes.len() - first));
        node.tail = Span { start: to_u32(tail), end: span.end };
        let default = self.attributes[first..].iter().find(|a| self.bytes(a.name) == b"xmlns");
        node.foreign = match default {
            Some(default) => default.value.start != default.value.end,
            None => self.nodes[self.parent.0 as usize].foreign,
        };
        self.push(node)
    }

    fn str(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.text.as_bytes()[span.start as usize..span.end as usize]
    }

    /// Reads the attributes between `at` and `end`; returns where the tag's end begins, with its blanks.
    ///
    /// quick-xml's own iterator gives no offsets and accepts attributes that touch each other.
    fn start_tag(&mut self, mut at: usize, end: usize, first: usize) -> Result<usize, Failed> {
        let bytes = &self.text.as_bytes()[..end];
        // The tag ends with `>`, so each of these stops.
        let blanks = |mut at: usize| {
            while BYTES[usize::from(bytes[at])] & BLANK != 0 {
                at += 1;
            }
            at
        };
        loop {
            let lead = at;
            at = blanks(at);
            if matches!(&bytes[at..], b">" | b"/>") {
                return Ok(lead);
            }
            if at == lead {
                return Err((at, Problem::Syntax("a blank is missing before an attribute".into())));
            }
            let start = at;
            at = self
                .name(start, end)
                .map_err(|name_end| (start, Problem::Name(short(&self.text[start..name_end]))))?;
            let name = Span { start: to_u32(start), end: to_u32(at) };
            at = blanks(at);
            if bytes[at] != b'=' {
                let name = short(self.str(name));
                return Err((at, Problem::Syntax(format!("attribute `{name}` has no value"))));
            }
            at = blanks(at + 1);
            let Some((value_end, special)) = value_end(bytes, at) else {
                let name = short(self.str(name));
                let problem = Problem::Syntax(format!("the value of `{name}` is not in quotes"));
                return Err((at, problem));
            };
            at += 1;
            let value = Span { start: to_u32(at), end: to_u32(value_end) };
            self.check_attribute(name, value, special, first)?;
            let lead = Span { start: to_u32(lead), end: value.start };
            self.attributes.push(Attribute { lead, name, value });
            at = value_end + 1;
        }
    }

    /// Where the name that begins at `at` ends. `Err`: where what is no name ends.
    fn name(&self, at: usize, end: usize) -> Result<usize, usize> {
        let bytes = &self.text.as_bytes()[..end];
        let mut name_end = at;
        while BYTES[usize::from(bytes[name_end])] & NAME != 0 {
            name_end += 1;
        }
        let starts_well = BYTES[usize::from(bytes[at])] & NAME_START != 0;
        if starts_well && BYTES[usize::from(bytes[name_end])] & AFTER_NAME != 0 {
            return Ok(name_end);
        }
        // Other letters, or no name.
        let name_end = at + name_len(&bytes[at..]);
        if chars::is_name(&self.text[at..name_end]) { Ok(name_end) } else { Err(name_end) }
    }

    fn check_attribute(
        &self,
        name: Span,
        value: Span,
        special: bool,
        first: usize,
    ) -> Result<(), Failed> {
        if (value.end - value.start) as usize > self.limits.attribute_bytes {
            let (name, limit) = (short(self.str(name)), self.limits.attribute_bytes);
            return Err((value.start as usize, Problem::AttributeTooLong { name, limit }));
        }
        if special {
            let raw = self.str(value);
            if let Some(at) = memchr::memchr(b'<', raw.as_bytes()) {
                let problem = Problem::Syntax("`<` in a value must be written `&lt;`".into());
                return Err((value.start as usize + at, problem));
            }
            chars::check_references(raw).map_err(|(at, p)| (value.start as usize + at, p))?;
        }
        let others = &self.attributes[first..];
        if others.len() >= self.limits.attributes {
            let problem = Problem::TooManyAttributes(self.limits.attributes);
            return Err((name.start as usize, problem));
        }
        let new = self.bytes(name);
        if others.iter().any(|other| self.bytes(other.name) == new) {
            return Err((name.start as usize, Problem::DuplicateAttribute(short(self.str(name)))));
        }
        Ok(())
    }
}

const BLANK: u8 = 1;
/// An ASCII character of a name.
const NAME: u8 = 2;
/// One with which a name can begin.
const NAME_START: u8 = 4;
/// What may follow a name.
const AFTER_NAME: u8 = 8;
/// What a value is looked at for: quotes end it, references and `<` are checked.
const IN_VALUE: u8 = 16;

/// What each byte can be: one look instead of one search for each question.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 128 {
        let byte = at as u8;
        let start = byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':');
        let name = start || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let after = blank || ends_name(byte);
        let in_value = matches!(byte, b'"' | b'\'' | b'&' | b'<');
        bytes[at] = (blank as u8) * BLANK
            + (name as u8) * NAME
            + (start as u8) * NAME_START
            + (after as u8) * AFTER_NAME
            + (in_value as u8) * IN_VALUE;
        at += 1;
    }
    bytes
};

/// Where the value in quotes that begins at `at` ends, and whether there is anything in it to be checked.
fn value_end(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let quote = bytes[at];
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    let mut special = false;
    let mut from = at + 1;
    loop {
        from += bytes[from..].iter().position(|&b| BYTES[usize::from(b)] & IN_VALUE != 0)?;
        if bytes[from] == quote {
            return Some((from, special));
        }
        special |= matches!(bytes[from], b'&' | b'<');
        from += 1;
    }
}

impl Node {
    pub(super) fn new(kind: Kind, head: Span, parent: NodeId) -> Self {
        Self {
            kind,
            foreign: false,
            parent,
            previous: NodeId::NONE,
            next: NodeId::NONE,
            first: NodeId::NONE,
            last: NodeId::NONE,
            head,
            tail: Span::default(),
            close: Span::default(),
            attributes: (0, 0),
        }
    }
}

fn name_len(bytes: &[u8]) -> usize {
    let ends = |&b: &u8| BYTES[usize::from(b)] & AFTER_NAME != 0;
    bytes.iter().position(ends).unwrap_or(bytes.len())
}

const fn ends_name(byte: u8) -> bool {
    matches!(byte, b'=' | b'/' | b'>' | b'"' | b'\'')
}

/// Enough of a name for a message.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn syntax(error: &quick_xml::Error) -> Problem {
    let mut message = error.to_string();
    if message.len() > 300 {
        let end = (0..=300).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    Problem::Syntax(message)
}

fn too_large(bytes: &[u8], limit: usize) -> Error {
    let text = String::from_utf8_lossy(&bytes[..limit.min(bytes.len())]);
    let (line, column) = super::line_and_column(&text, text.len());
    Error { line, column, path: "/".into(), problem: Problem::TooLarge(limit) }
}

/// Offsets are below [`limits::BYTES_MAX`], which the callers check.
pub(super) fn to_u32(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
