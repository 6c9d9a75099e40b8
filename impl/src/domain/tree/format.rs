//! Tree to text.

use std::fmt;

use super::{Document, Kind, NodeId, Span};

impl Document {
    /// The whole document.
    pub fn to_xml(&self) -> String {
        self.fragment(NodeId::DOCUMENT)
    }

    /// One node with all that is in it.
    pub fn fragment(&self, id: NodeId) -> String {
        let mut out = Output { text: &self.text, pending: Span::default(), out: String::new() };
        out.out.reserve(if id == NodeId::DOCUMENT { self.text.len() } else { 0 });
        let mut at = id;
        loop {
            self.open(at, &mut out);
            if let Some(first) = self.node(at).first.some() {
                at = first;
                continue;
            }
            // Close elements until one has a sibling; the stack is in the tree.
            loop {
                out.copy(self.node(at).close);
                if at == id {
                    return out.finish();
                }
                if let Some(next) = self.node(at).next.some() {
                    at = next;
                    break;
                }
                at = self.node(at).parent;
            }
        }
    }

    fn open(&self, id: NodeId, out: &mut Output<'_>) {
        let node = self.node(id);
        out.copy(node.head);
        if node.kind == Kind::Element {
            for attribute in self.attributes_of(id) {
                let value = attribute.value;
                out.copy(attribute.lead);
                out.copy(Span { start: value.start, end: value.end + 1 });
            }
            out.copy(node.tail);
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_xml())
    }
}

/// Joins ranges that follow each other, so that what was not edited is copied in long runs.
struct Output<'a> {
    text: &'a str,
    pending: Span,
    out: String,
}

impl Output<'_> {
    fn copy(&mut self, span: Span) {
        if span.start == self.pending.end {
            self.pending.end = span.end;
        } else if span.start != span.end {
            self.flush();
            self.pending = span;
        }
    }

    fn flush(&mut self) {
        self.out.push_str(&self.text[self.pending.start as usize..self.pending.end as usize]);
    }

    fn finish(mut self) -> String {
        self.flush();
        self.out
    }
}
