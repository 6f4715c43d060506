//! The keys that rules look up, as a tree, and where an event has them. Each object of an event is read once for all rules
//! that look into it, key by key: what that costs goes with the keys of the event and not with those of the rules.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::model::{Map, Value};

/// The event itself.
pub(super) const ROOT: u32 = 0;

/// By node: the root, then every key of every path.
pub(super) struct Places {
    nodes: Vec<Node>,
    by_path: Vec<u32>,
}

struct Node {
    /// Where the object is that has the key.
    parent: u32,
    key: Arc<str>,
    /// The keys below it that are in ASCII.
    children: HashTable<Child>,
}

/// Keys that differ in case only.
struct Child {
    hash: u64,
    spelled: Vec<u32>,
}

impl Default for Places {
    fn default() -> Places {
        let root = Node { parent: ROOT, key: "".into(), children: HashTable::new() };
        Places { nodes: vec![root], by_path: Vec::new() }
    }
}

impl Places {
    pub(super) fn new(paths: &[Vec<Arc<str>>]) -> Places {
        let mut places = Places::default();
        for path in paths {
            let node = path.iter().fold(ROOT, |parent, key| places.child(parent, key));
            places.by_path.push(node);
        }
        places
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn of_path(&self, path: usize) -> u32 {
        self.by_path[path]
    }

    pub(super) fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// The child of that name, which is made when it is not there.
    fn child(&mut self, parent: u32, key: &Arc<str>) -> u32 {
        let next = self.nodes.len() as u32;
        let hash = hash(key);
        if let Some(node) = self.named(parent, key).iter().find(|node| self.nodes[**node as usize].key == *key) {
            return *node;
        }
        // Taken out, since whoever looks for a child looks at its node.
        let mut children = std::mem::take(&mut self.nodes[parent as usize].children);
        let same = |child: &Child| self.nodes[child.spelled[0] as usize].key.eq_ignore_ascii_case(key);
        match children.find_mut(hash, same) {
            Some(known) => known.spelled.push(next),
            None => drop(children.insert_unique(hash, Child { hash, spelled: vec![next] }, |child| child.hash)),
        }
        self.nodes[parent as usize].children = children;
        self.nodes.push(Node { parent, key: key.clone(), children: HashTable::new() });
        next
    }

    /// Nodes below the parent for a key of an event, whatever its case.
    fn named(&self, parent: u32, key: &str) -> &[u32] {
        let same = |child: &Child| self.nodes[child.spelled[0] as usize].key.eq_ignore_ascii_case(key);
        self.nodes[parent as usize].children.find(hash(key), same).map_or(&[], |child| &child.spelled)
    }
}

/// The same for texts that differ in the case of letters in ASCII only.
fn hash(text: &str) -> u64 {
    // FNV-1a; the rules' authors choose the keys, and each object of an event asks once for each of its own.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    // The table takes the upper bits for itself.
    hash ^ (hash << 32)
}

/// Where one event has the keys. Made once and used for one event after the other.
#[derive(Default)]
pub struct Scratch {
    /// By node.
    marks: Vec<Mark>,
    /// Of this event; marks of another one count for nothing.
    event: u32,
    /// Nodes that were found, those of each object side by side.
    found: Vec<u32>,
    /// A text in lower case.
    pub(super) lower: String,
    pub(super) rules: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    /// The event in which it was found, and the position in its object.
    found: u32,
    position: u32,
    /// The event in which the object was read, and what of [`Scratch::found`] is in it.
    read: u32,
    children: (u32, u32),
    /// The object has keys outside of ASCII, which may equal others in ways that the tree does not know.
    is_odd: bool,
}

impl Scratch {
    /// Forgets the last event.
    pub(super) fn begin(&mut self, places: &Places) {
        self.found.clear();
        self.event = self.event.wrapping_add(1);
        if self.marks.len() != places.len() || self.event == 0 {
            self.marks.clear();
            self.marks.resize(places.len(), Mark::default());
            self.event = 1;
        }
    }

    /// The value at a node.
    pub(super) fn value<'e>(&mut self, places: &Places, event: &'e Map, node: u32) -> Option<&'e Value> {
        let Node { parent, key, .. } = &places.nodes[node as usize];
        let map = self.object(places, event, *parent)?;
        self.read(places, map, *parent);
        if self.marks[*parent as usize].is_odd || !key.is_ascii() {
            return map.get_ignore_case(key);
        }
        let mark = self.marks[node as usize];
        if mark.found == self.event { map.entry(mark.position as usize).map(|(_, value)| value) } else { None }
    }

    /// The keys of an object that are in the tree; `None` when the tree does not know all of them.
    pub(super) fn children(&mut self, places: &Places, event: &Map, node: u32) -> Option<std::ops::Range<usize>> {
        let Some(map) = self.object(places, event, node) else { return Some(0..0) };
        self.read(places, map, node);
        let Mark { children: (from, to), is_odd, .. } = self.marks[node as usize];
        (!is_odd).then_some(from as usize..to as usize)
    }

    pub(super) fn found(&self, at: usize) -> u32 {
        self.found[at]
    }

    fn object<'e>(&mut self, places: &Places, event: &'e Map, node: u32) -> Option<&'e Map> {
        if node == ROOT { Some(event) } else { self.value(places, event, node)?.as_map() }
    }

    fn read(&mut self, places: &Places, map: &Map, node: u32) {
        if self.marks[node as usize].read == self.event {
            return;
        }
        let from = self.found.len() as u32;
        let mut is_odd = false;
        map.each_key(&mut |position, key| {
            is_odd |= !key.is_ascii();
            for child in places.named(node, key) {
                let mark = &mut self.marks[*child as usize];
                // The exact key goes first, then the first that is equal but for case.
                if mark.found != self.event || *places.nodes[*child as usize].key == *key {
                    (mark.found, mark.position) = (self.event, position as u32);
                    self.found.push(*child);
                }
            }
        });
        let mark = &mut self.marks[node as usize];
        (mark.read, mark.children, mark.is_odd) = (self.event, (from, self.found.len() as u32), is_odd);
    }
}
