//! An XML tree that loses nothing.
//!
//! Every node is a range of one text. Writing a document copies the ranges in order, so whatever was not edited comes
//! out byte for byte: blanks inside tags, the kind of quotes, references, comments, and all that nobody understands.
//! An edit appends to the text and moves ranges; it touches nothing else.
//!
//! The nodes live in one vector and know each other by index. Neither reading, writing nor dropping recurses.

mod chars;
mod edit;
mod format;
mod limits;
mod parse;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use limits::Limits;

use crate::domain::{Error, Problem};

/// A document: one root element, and what stands around it.
#[derive(Clone, Debug)]
pub struct Document {
    /// What was read, then what edits added.
    text: String,
    /// Where the part that was read ends.
    read: u32,
    nodes: Vec<Node>,
    attributes: Vec<Attribute>,
    limits: Limits,
}

/// A node of a document. It stays valid until the node is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The document itself: parent of the root element.
    const DOCUMENT: Self = Self(0);
    const NONE: Self = Self(u32::MAX);

    fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The document.
    Document,
    /// An element.
    Element,
    /// Characters and references.
    Text,
    /// `<![CDATA[…]]>`.
    CData,
    /// `<!--…-->`.
    Comment,
    /// `<?…?>`, the XML declaration too.
    Instruction,
}

/// A range of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    /// In a default namespace, so not one of libvirt's names.
    foreign: bool,
    parent: NodeId,
    previous: NodeId,
    next: NodeId,
    first: NodeId,
    last: NodeId,
    /// `<name` of an element, else the whole token.
    head: Span,
    /// What ends the start tag, blanks included: `>` or ` />`.
    tail: Span,
    /// `</name>`, empty for `<name/>`.
    close: Span,
    /// First attribute and how many.
    attributes: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Attribute {
    /// From the blanks before the name to the opening quote.
    lead: Span,
    name: Span,
    /// Without quotes; the closing quote follows it in the text.
    value: Span,
}

impl Document {
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn str(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn attributes_of(&self, id: NodeId) -> &[Attribute] {
        let (first, count) = self.node(id).attributes;
        &self.attributes[first as usize..][..count as usize]
    }

    /// The root element.
    pub fn root(&self) -> NodeId {
        self.children(NodeId::DOCUMENT).next().unwrap_or(NodeId::DOCUMENT)
    }

    /// The limits it was read with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What this node is.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind
    }

    /// The name of an element, with its prefix; empty for other nodes.
    pub fn name(&self, id: NodeId) -> &str {
        let node = self.node(id);
        match node.kind {
            Kind::Element => &self.str(node.head)[1..],
            _ => "",
        }
    }

    /// Is this the element `name` of no namespace? libvirt's own elements are.
    pub fn is(&self, id: NodeId, name: &str) -> bool {
        !self.node(id).foreign && self.name(id) == name
    }

    /// The namespace of an element, by the declarations in scope.
    pub fn namespace(&self, id: NodeId) -> Option<Cow<'_, str>> {
        let prefix = self.name(id).split_once(':').map(|(prefix, _)| prefix);
        let mut at = Some(id);
        while let Some(element) = at {
            for attribute in self.attributes_of(element) {
                let declared = match self.str(attribute.name) {
                    "xmlns" => None,
                    name => match name.strip_prefix("xmlns:") {
                        None => continue,
                        prefix => prefix,
                    },
                };
                if declared == prefix {
                    let uri = chars::attribute_value(self.str(attribute.value));
                    return (!uri.is_empty()).then_some(uri);
                }
            }
            at = self.parent(element);
        }
        None
    }

    /// The element around this node.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).parent.some().filter(|&parent| parent != NodeId::DOCUMENT)
    }

    /// The element after this node, in the same parent.
    pub fn next_element(&self, id: NodeId) -> Option<NodeId> {
        std::iter::successors(self.node(id).next.some(), |&id| self.node(id).next.some())
            .find(|&id| self.kind(id) == Kind::Element)
    }

    /// All nodes in this one, in order.
    pub fn nodes(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.node(id).first.some(), |&id| self.node(id).next.some())
    }

    /// The elements in this one, in order.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes(id).filter(|&id| self.kind(id) == Kind::Element)
    }

    /// The elements called `name` in this one, in order.
    pub fn children_named<'a>(
        &'a self,
        id: NodeId,
        name: &'a str,
    ) -> impl Iterator<Item = NodeId> + 'a {
        self.children(id).filter(move |&child| self.is(child, name))
    }

    /// The first element called `name` in this one.
    pub fn child(&self, id: NodeId, name: &str) -> Option<NodeId> {
        self.children(id).find(|&child| self.is(child, name))
    }

    /// The element reached by the names in `path`, separated by `/`.
    pub fn descendant(&self, id: NodeId, path: &str) -> Option<NodeId> {
        path.split('/').try_fold(id, |id, name| self.child(id, name))
    }

    /// The value of an attribute.
    pub fn attribute(&self, id: NodeId, name: &str) -> Option<Cow<'_, str>> {
        let attribute = self.attributes_of(id).iter().find(|a| self.str(a.name) == name)?;
        Some(chars::attribute_value(self.str(attribute.value)))
    }

    /// The attribute at a short path such as `@type` or `target/@port`.
    pub fn get(&self, id: NodeId, path: &str) -> Option<Cow<'_, str>> {
        match path.rsplit_once("/@") {
            Some((elements, name)) => self.attribute(self.descendant(id, elements)?, name),
            None => self.attribute(id, path.strip_prefix('@').unwrap_or(path)),
        }
    }

    /// Is the attribute at this path this value?
    pub fn has(&self, id: NodeId, path: &str, value: &str) -> bool {
        self.get(id, path).is_some_and(|found| found == value)
    }

    /// The number at this path: decimal, or hexadecimal after `0x`.
    pub fn number(&self, id: NodeId, path: &str) -> Result<Option<u32>, Error> {
        let Some(text) = self.get(id, path) else { return Ok(None) };
        let number = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        let value = text.chars().take(64).collect();
        number.map(Some).map_err(|_| self.error(id, Problem::Value { value, expected: "a number" }))
    }

    /// Names and values of the attributes, in order.
    pub fn attributes(&self, id: NodeId) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.attributes_of(id)
            .iter()
            .map(|a| (self.str(a.name), chars::attribute_value(self.str(a.value))))
    }

    /// The characters of a text, a CDATA section or an element's own texts.
    pub fn text(&self, id: NodeId) -> Cow<'_, str> {
        match self.kind(id) {
            Kind::Text => chars::text_value(self.str(self.node(id).head)),
            Kind::CData => {
                let raw = self.str(self.node(id).head);
                chars::line_ends(&raw["<![CDATA[".len()..raw.len() - "]]>".len()])
            }
            Kind::Element | Kind::Document => {
                let is_text = |&id: &NodeId| matches!(self.kind(id), Kind::Text | Kind::CData);
                let mut texts = self.nodes(id).filter(is_text).map(|id| self.text(id));
                let Some(first) = texts.next() else { return Cow::Borrowed("") };
                texts.fold(first, |mut all, text| {
                    all.to_mut().push_str(&text);
                    all
                })
            }
            Kind::Comment | Kind::Instruction => Cow::Borrowed(""),
        }
    }

    /// Are two elements the same but for blanks between elements?
    pub fn same(&self, id: NodeId, other: &Self, other_id: NodeId) -> bool {
        self.same_but(id, other, other_id, |document, id| document.is_blank(id))
    }

    /// Are two elements the same but for blanks, comments and processing instructions?
    pub fn same_elements(&self, id: NodeId, other: &Self, other_id: NodeId) -> bool {
        self.same_but(id, other, other_id, |document, id| {
            matches!(document.kind(id), Kind::Comment | Kind::Instruction) || document.is_blank(id)
        })
    }

    fn same_but(
        &self,
        id: NodeId,
        other: &Self,
        other_id: NodeId,
        ignored: fn(&Self, NodeId) -> bool,
    ) -> bool {
        let mut pairs = vec![(id, other_id)];
        let content = |document: &Self, id: NodeId| -> Vec<NodeId> {
            document.nodes(id).filter(|&id| !ignored(document, id)).collect()
        };
        while let Some((a, b)) = pairs.pop() {
            let (left, right) = (content(self, a), content(other, b));
            // Blanks are what an element without other content says.
            let texts_differ = left.is_empty() && self.text(a) != other.text(b);
            if texts_differ || left.len() != right.len() || self.kind(a) != other.kind(b) {
                return false;
            }
            let same = match self.kind(a) {
                Kind::Element => {
                    self.name(a) == other.name(b) && self.attributes(a).eq(other.attributes(b))
                }
                _ => self.str(self.node(a).head) == other.str(other.node(b).head),
            };
            if !same {
                return false;
            }
            pairs.extend(left.into_iter().zip(right));
        }
        true
    }

    /// XPath of an element, or of the element around another node.
    pub fn path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = if self.kind(id) == Kind::Element { Some(id) } else { self.parent(id) };
        while let Some(element) = at {
            let name = self.name(element);
            let same = |&sibling: &NodeId| self.name(sibling) == name;
            let siblings = self.children(self.node(element).parent);
            let before = siblings.take_while(|&sibling| sibling != element).filter(same).count();
            let after = std::iter::successors(self.node(element).next.some(), |&id| {
                self.node(id).next.some()
            });
            let alone = before == 0 && !after.into_iter().any(|sibling| same(&sibling));
            steps.push(if alone { name.to_owned() } else { format!("{name}[{}]", before + 1) });
            at = self.parent(element);
        }
        steps.iter().rev().fold(String::new(), |path, step| path + "/" + step)
    }

    /// An error at this node.
    pub fn error(&self, id: NodeId, problem: Problem) -> Error {
        // What was inserted has no place in the text that was read; its surroundings have.
        let mut at = id;
        while self.node(at).head.start >= self.read && at != NodeId::DOCUMENT {
            at = self.node(at).parent;
        }
        let read = &self.text[..self.read as usize];
        let (line, column) = line_and_column(read, self.node(at).head.start as usize);
        let path = self.path(id);
        Error { line, column, path: if path.is_empty() { "/".into() } else { path }, problem }
    }
}

/// Line and column, from 1, of a byte offset.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let lines = memchr::memchr_iter(b'\n', before.as_bytes()).count();
    (lines + 1, before[line_start..].chars().count() + 1)
}
