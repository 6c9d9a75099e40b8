//! Changing a tree.

use super::{Attribute, Document, Kind, NodeId, Span, chars, limits, parse::to_u32};
use crate::domain::{Error, Problem};

impl Document {
    /// Gives an attribute a value; a new attribute comes last.
    pub fn set_attribute(&mut self, id: NodeId, name: &str, value: &str) -> Result<(), Error> {
        if self.kind(id) != Kind::Element || !chars::is_name(name) {
            return Err(self.error(id, Problem::Name(name.to_owned())));
        }
        self.check_value(id, value)?;
        let position = self.attributes_of(id).iter().position(|a| self.str(a.name) == name);
        if let Some(position) = position {
            let lead = self.attributes_of(id)[position].lead;
            let quote = self.str(lead).chars().next_back().unwrap_or('\'');
            let value = self.append_value(id, value, quote)?;
            let first = self.node(id).attributes.0 as usize;
            self.attributes[first + position].value = value;
            return Ok(());
        }
        let lead = self.append(id, &format!(" {name}='"))?;
        let name = Span { start: lead.start + 1, end: lead.end - 2 };
        let value = self.append_value(id, value, '\'')?;
        // An element's attributes are neighbours: they move to the end together.
        let (first, count) = self.node(id).attributes;
        let moved = self.attributes.len();
        self.attributes.extend_from_within(first as usize..(first + count) as usize);
        self.attributes.push(Attribute { lead, name, value });
        self.node_mut(id).attributes = (to_u32(moved), count + 1);
        Ok(())
    }

    /// Gives the attribute at a short path such as `target/@port` a value, and adds the elements that are missing.
    pub fn put(&mut self, id: NodeId, path: &str, value: &str) -> Result<NodeId, Error> {
        let (elements, name) = path.rsplit_once("/@").unwrap_or(("", path.trim_start_matches('@')));
        let mut at = id;
        for element in elements.split('/').filter(|element| !element.is_empty()) {
            at = match self.child(at, element) {
                Some(child) => child,
                None => self.append_element(at, element)?,
            };
        }
        self.set_attribute(at, name, value)?;
        Ok(at)
    }

    /// Removes an attribute; returns whether it was there.
    pub fn remove_attribute(&mut self, id: NodeId, name: &str) -> bool {
        let Some(position) = self.attributes_of(id).iter().position(|a| self.str(a.name) == name)
        else {
            return false;
        };
        let (first, count) = self.node(id).attributes;
        let all = first as usize..(first + count) as usize;
        self.attributes[all][position..].rotate_left(1);
        self.node_mut(id).attributes.1 = count - 1;
        true
    }

    /// Gives an element another name.
    pub fn rename(&mut self, id: NodeId, name: &str) -> Result<(), Error> {
        if self.kind(id) != Kind::Element || !chars::is_name(name) {
            return Err(self.error(id, Problem::Name(name.to_owned())));
        }
        let head = self.append(id, &format!("<{name}"))?;
        self.node_mut(id).head = head;
        if self.node(id).close != Span::default() {
            let close = self.append(id, &format!("</{name}>"))?;
            self.node_mut(id).close = close;
        }
        Ok(())
    }

    /// Replaces everything in an element by text.
    pub fn set_text(&mut self, id: NodeId, text: &str) -> Result<(), Error> {
        self.check_value(id, text)?;
        let mut escaped = String::new();
        chars::escape_text(text, &mut escaped);
        while let Some(first) = self.node(id).first.some() {
            self.unlink(first);
        }
        if escaped.is_empty() {
            return Ok(());
        }
        self.open_up(id)?;
        let span = self.append(id, &escaped)?;
        let node = self.new_node(Kind::Text, span)?;
        self.link(id, None, node);
        Ok(())
    }

    /// Adds an empty element as the last one in `parent`, on a line of its own where its siblings have one.
    pub fn append_element(&mut self, parent: NodeId, name: &str) -> Result<NodeId, Error> {
        if !chars::is_name(name) {
            return Err(self.error(parent, Problem::Name(name.to_owned())));
        }
        self.append_xml(parent, &format!("<{name}/>"))
    }

    /// Adds the element written in `xml` as the last one in `parent`.
    pub fn append_xml(&mut self, parent: NodeId, xml: &str) -> Result<NodeId, Error> {
        self.insert(parent, None, xml)
    }

    /// Adds the element written in `xml` before `sibling`.
    pub fn insert_xml(&mut self, sibling: NodeId, xml: &str) -> Result<NodeId, Error> {
        self.insert(self.node(sibling).parent, Some(sibling), xml)
    }

    /// Puts the element written in `xml` where `old` is, which is removed; the blanks around it stay.
    pub fn replace_xml(&mut self, old: NodeId, xml: &str) -> Result<NodeId, Error> {
        let parent = self.node(old).parent;
        if self.kind(parent) != Kind::Element {
            return Err(self.error(old, Problem::OutsideRoot));
        }
        let new = self.parse_element(parent, xml)?;
        self.link(parent, Some(old), new);
        self.unlink(old);
        Ok(new)
    }

    /// Removes a node, and the blanks before it; what has nothing but blanks left becomes empty.
    pub fn remove(&mut self, id: NodeId) {
        let parent = self.node(id).parent;
        if let Some(before) = self.node(id).previous.some() {
            let after_is_blank = self.node(id).next.some().is_some_and(|next| self.is_blank(next));
            if self.is_blank(before) && after_is_blank {
                self.unlink(before);
            }
        }
        self.unlink(id);
        if self.nodes(parent).all(|node| self.is_blank(node)) {
            while let Some(first) = self.node(parent).first.some() {
                self.unlink(first);
            }
        }
    }

    /// The same document without what edits left behind. Its nodes have other ids.
    pub fn compacted(&self) -> Result<Self, Error> {
        Self::parse_with(&self.to_xml(), self.limits)
    }

    fn insert(
        &mut self,
        parent: NodeId,
        before: Option<NodeId>,
        xml: &str,
    ) -> Result<NodeId, Error> {
        if self.kind(parent) != Kind::Element {
            return Err(self.error(parent, Problem::OutsideRoot));
        }
        let node = self.parse_element(parent, xml)?;
        self.open_up(parent)?;
        let before = match before {
            Some(sibling) => Some(sibling),
            None => self.node(parent).last.some().filter(|&last| self.is_blank(last)),
        };
        match self.indentation(parent) {
            // The siblings stand on lines of their own: so does this one.
            Some(indentation) => {
                let blank = self.append(parent, &indentation)?;
                let blank = self.new_node(Kind::Text, blank)?;
                match before {
                    Some(sibling) if !self.is_blank(sibling) => {
                        self.link(parent, Some(sibling), node);
                        self.link(parent, Some(sibling), blank);
                    }
                    _ => {
                        self.link(parent, before, blank);
                        self.link(parent, before, node);
                    }
                }
                if self.node(parent).last == node {
                    let outer = indentation.strip_suffix("  ").unwrap_or("\n");
                    let outer = self.append(parent, outer)?;
                    let outer = self.new_node(Kind::Text, outer)?;
                    self.link(parent, None, outer);
                }
            }
            None => self.link(parent, before, node),
        }
        Ok(node)
    }

    /// The line end and blanks before a child of `parent`; none if it has text of its own or no line ends.
    fn indentation(&self, parent: NodeId) -> Option<String> {
        let text = |id: NodeId| (self.kind(id) == Kind::Text).then(|| self.str(self.node(id).head));
        if self.nodes(parent).filter_map(text).any(|text| !blank(text)) {
            return None;
        }
        let last_line = |text: &str| text.rfind('\n').map(|at| text[at..].to_owned());
        if let Some(first) = self.node(parent).first.some() {
            return text(first).and_then(last_line);
        }
        // An empty element: two blanks more than its own line.
        let own = self.node(parent).previous.some().and_then(text).and_then(last_line);
        match own {
            Some(own) => Some(own + "  "),
            None if self.parent(parent).is_none() => Some("\n  ".to_owned()),
            None => None,
        }
    }

    pub(super) fn is_blank(&self, id: NodeId) -> bool {
        self.kind(id) == Kind::Text && blank(self.str(self.node(id).head))
    }

    /// Gives `<name/>` an end tag.
    fn open_up(&mut self, id: NodeId) -> Result<(), Error> {
        let node = self.node(id);
        if node.close.start != node.close.end || node.kind != Kind::Element {
            return Ok(());
        }
        let close = format!("></{}>", self.name(id));
        let span = self.append(id, &close)?;
        let node = self.node_mut(id);
        node.tail = Span { start: span.start, end: span.start + 1 };
        node.close = Span { start: span.start + 1, end: span.end };
        Ok(())
    }

    /// Reads one element, not yet linked.
    fn parse_element(&mut self, parent: NodeId, xml: &str) -> Result<NodeId, Error> {
        let checkpoint = (self.text.len(), self.nodes.len(), self.attributes.len());
        self.append(parent, xml)?;
        // A node that stands for the document while its only child is read.
        let top = self.new_node(Kind::Element, Span::default())?;
        let foreign = self.node(parent).foreign;
        self.node_mut(top).foreign = foreign;
        let depth = std::iter::successors(Some(parent), |&id| self.parent(id)).count();
        let parsed = self.parse_text(checkpoint.0, top, depth);
        let parsed = parsed.and_then(|()| {
            let mut elements = self.children(top);
            match (elements.next(), elements.next()) {
                (Some(element), None) => Ok(element),
                (None, _) => Err((checkpoint.0, top, Problem::Empty)),
                _ => Err((checkpoint.0, top, Problem::OutsideRoot)),
            }
        });
        match parsed {
            Ok(element) => {
                self.unlink(element);
                Ok(element)
            }
            Err((at, _, problem)) => {
                let (line, column) =
                    super::line_and_column(&self.text[checkpoint.0..], at - checkpoint.0);
                self.text.truncate(checkpoint.0);
                self.nodes.truncate(checkpoint.1);
                self.attributes.truncate(checkpoint.2);
                Err(Error { line, column, path: self.path(parent), problem })
            }
        }
    }

    fn check_value(&self, id: NodeId, value: &str) -> Result<(), Error> {
        match chars::forbidden(value) {
            None => Ok(()),
            Some((_, code)) => Err(self.error(id, Problem::Character(code))),
        }
    }

    fn append_value(&mut self, id: NodeId, value: &str, quote: char) -> Result<Span, Error> {
        let mut escaped = String::with_capacity(value.len() + 1);
        chars::escape_attribute(value, &mut escaped);
        escaped.push(quote);
        let span = self.append(id, &escaped)?;
        Ok(Span { start: span.start, end: span.end - 1 })
    }

    /// Adds to the text; `id` is the node that an error is about.
    fn append(&mut self, id: NodeId, text: &str) -> Result<Span, Error> {
        let start = self.text.len();
        if start + text.len() > limits::BYTES_MAX * 2 {
            return Err(self.error(id, Problem::TooLarge(limits::BYTES_MAX * 2)));
        }
        self.text.push_str(text);
        Ok(Span { start: to_u32(start), end: to_u32(self.text.len()) })
    }

    fn new_node(&mut self, kind: Kind, head: Span) -> Result<NodeId, Error> {
        let id = NodeId(to_u32(self.nodes.len()));
        if id == NodeId::NONE {
            return Err(self.error(NodeId::DOCUMENT, Problem::TooManyNodes(self.limits.nodes)));
        }
        self.nodes.push(super::Node::new(kind, head, NodeId::NONE));
        Ok(id)
    }

    /// Puts a node that is nowhere into `parent`, before `before` or last.
    fn link(&mut self, parent: NodeId, before: Option<NodeId>, id: NodeId) {
        let next = before.unwrap_or(NodeId::NONE);
        let previous = match before {
            Some(before) => self.node(before).previous,
            None => self.node(parent).last,
        };
        match previous.some() {
            Some(previous) => self.node_mut(previous).next = id,
            None => self.node_mut(parent).first = id,
        }
        match next.some() {
            Some(next) => self.node_mut(next).previous = id,
            None => self.node_mut(parent).last = id,
        }
        let node = self.node_mut(id);
        (node.parent, node.previous, node.next) = (parent, previous, next);
    }

    fn unlink(&mut self, id: NodeId) {
        let Some(parent) = self.node(id).parent.some() else { return };
        let (previous, next) = (self.node(id).previous, self.node(id).next);
        match previous.some() {
            Some(previous) => self.node_mut(previous).next = next,
            None => self.node_mut(parent).first = next,
        }
        match next.some() {
            Some(next) => self.node_mut(next).previous = previous,
            None => self.node_mut(parent).last = previous,
        }
        let node = self.node_mut(id);
        (node.parent, node.previous, node.next) = (NodeId::NONE, NodeId::NONE, NodeId::NONE);
    }
}

/// Nothing but what XML calls white space: a no-break space is text.
fn blank(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
}
