//! A machine for the few pickle instructions and names that a dictionary of tensors needs.
//!
//! It builds plain values and runs nothing. Every value is a node in one list and refers to others
//! by number, so neither depth nor cycles matter, and the number of nodes is bounded.

use std::collections::HashMap;

use super::PytorchProblem;
use super::globals::{Global, global};
use super::node::{Id, Node, int};

/// Longest pickle that is read. State dicts take about 200 bytes a tensor.
const MAX_LEN: usize = 64 << 20;
/// Most values, stack places and memo places.
const MAX_NODES: usize = 1 << 20;
/// Longest name of a global, module and name together.
const MAX_GLOBAL: usize = 256;

/// The values that a pickle builds.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`; also returns its length.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, usize), PytorchProblem> {
        let mut machine = Machine {
            bytes,
            position: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        let root = machine.run()?;
        let nodes = machine.nodes;
        Ok((Self { nodes, root }, machine.position))
    }

    pub(super) fn root(&self) -> &Node<'a> {
        self.node(self.root)
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// All nodes, in the order in which the pickle makes them.
    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which a run of values begins.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Pairs copied so far.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, PytorchProblem> {
        loop {
            if self.position > MAX_LEN {
                let (what, max) = ("bytes of pickle", MAX_LEN);
                return Err(PytorchProblem::TooMuch { what, max });
            }
            let at = self.position;
            let [opcode] = self.array()?;
            match opcode {
                // PROTO, FRAME: what they say does not matter here.
                0x80 => drop(self.array::<1>()?),
                0x95 => drop(self.array::<8>()?),
                b'.' => return self.pop(),
                b'(' => {
                    self.check_room(self.marks.len(), "marks")?;
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_run()?),
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'G' => {
                    self.array::<8>()?;
                    self.push(Node::Float)?;
                }
                b'K' => {
                    let [n] = self.array()?;
                    self.push(Node::Int(n.into()))?;
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.array()?);
                    self.push(Node::Int(n.into()))?;
                }
                b'J' => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(n.into()))?;
                }
                0x8a => {
                    let [len] = self.array()?;
                    let long = self.take(len.into())?;
                    self.push(int(long))?;
                }
                // BINUNICODE, BINSTRING; SHORT_BINUNICODE, SHORT_BINSTRING
                b'X' | b'T' => {
                    let len = u32::from_le_bytes(self.array()?);
                    self.push_str(len as usize)?;
                }
                0x8c | b'U' => {
                    let [len] = self.array()?;
                    self.push_str(len.into())?;
                }
                b')' => self.push(Node::Tuple(Vec::new()))?,
                0x85 => self.push_tuple(1)?,
                0x86 => self.push_tuple(2)?,
                0x87 => self.push_tuple(3)?,
                b't' => {
                    let items = self.pop_run()?;
                    self.push(Node::Tuple(items))?;
                }
                // BINBYTES, SHORT_BINBYTES
                b'B' => {
                    let len = u32::from_le_bytes(self.array()?);
                    self.take(len as usize)?;
                    self.push(Node::Other)?;
                }
                b'C' => {
                    let [len] = self.array()?;
                    self.take(len.into())?;
                    self.push(Node::Other)?;
                }
                // EMPTY_SET, ADDITEMS, FROZENSET
                0x8f => self.push(Node::Other)?,
                0x90 => drop(self.pop_run()?),
                0x91 => {
                    self.pop_run()?;
                    self.push(Node::Other)?;
                }
                b']' => self.push(Node::List(Vec::new()))?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_run()?;
                    self.append(items)?;
                }
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_run()?;
                    self.set_items(&items)?;
                }
                // BINPUT, LONG_BINPUT, MEMOIZE
                b'q' => {
                    let [place] = self.array()?;
                    self.memoize(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.memoize(place)?;
                }
                0x94 => self.memoize(self.memo.len() as u32)?,
                // BINGET, LONG_BINGET
                b'h' => {
                    let [place] = self.array()?;
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.recall(place)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push_global(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (self.node(module), self.node(name)) {
                        (&Node::Str(module), &Node::Str(name)) => self.push_global(module, name)?,
                        _ => return Err(self.malformed("the name of a global")),
                    }
                }
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                b'Q' => {
                    let id = self.pop()?;
                    let Node::Tuple(arguments) = self.node(id) else {
                        return Err(self.malformed("a reference to a storage"));
                    };
                    let arguments = self.copy_of(arguments)?;
                    self.push(Node::Storage(arguments))?;
                }
                _ => return Err(PytorchProblem::Opcode { opcode, at }),
            }
        }
    }

    /// Calls one of the few functions: none of them runs code of the file.
    fn reduce(&mut self) -> Result<(), PytorchProblem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Tuple(arguments) = self.node(arguments) else {
            return Err(self.malformed("a tuple of arguments"));
        };
        let made = match (self.node(function), arguments.as_slice()) {
            (Node::Global(Global::OrderedDict), []) => Node::Dict(Vec::new()),
            (Node::Global(Global::OrderedDict), &[pairs]) => {
                let pairs = self.pairs(pairs)?;
                self.copied += pairs.len();
                Node::Dict(pairs)
            }
            (Node::Global(Global::RebuildTensor), _) => Node::Tensor(self.copy_of(arguments)?),
            // A parameter is its data; whether it was trained does not matter.
            (Node::Global(Global::RebuildParameter), &[data, ..]) => return self.push_id(data),
            (Node::Global(Global::Other), _) => Node::Other,
            _ => return Err(self.malformed("a function with its arguments")),
        };
        self.push(made)
    }

    /// Sets attributes. A dictionary of modules carries `_metadata` that way, which is not needed.
    fn build(&mut self) -> Result<(), PytorchProblem> {
        self.pop()?;
        match self.stack.last().map(|&id| self.node(id)) {
            Some(Node::Dict(_) | Node::Other) => Ok(()),
            _ => Err(self.malformed("a dictionary that takes attributes")),
        }
    }

    /// The pairs of a list of pairs.
    fn pairs(&self, list: Id) -> Result<Vec<(Id, Id)>, PytorchProblem> {
        let Node::List(pairs) = self.node(list) else {
            return Err(self.malformed("a list of pairs"));
        };
        // A shared list can be copied again and again.
        self.check_room(self.copied.saturating_add(pairs.len()), "copied pairs")?;
        let pair = |&id: &Id| match self.node(id) {
            Node::Tuple(pair) | Node::List(pair) => match pair[..] {
                [key, value] => Ok((key, value)),
                _ => Err(self.malformed("a pair")),
            },
            _ => Err(self.malformed("a pair")),
        };
        pairs.iter().map(pair).collect()
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), PytorchProblem> {
        let global = global(module, name).ok_or_else(|| PytorchProblem::Global {
            name: format!("{module}.{name}").as_str().into(),
        })?;
        self.push(Node::Global(global))
    }

    fn push_str(&mut self, len: usize) -> Result<(), PytorchProblem> {
        let text =
            std::str::from_utf8(self.take(len)?).map_err(|_| self.malformed("text in UTF-8"))?;
        self.push(Node::Str(text))
    }

    fn push_tuple(&mut self, len: usize) -> Result<(), PytorchProblem> {
        let base = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(len).filter(|&s| s >= base);
        let start = start.ok_or_else(|| self.malformed("a value"))?;
        let items = self.stack.split_off(start);
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PytorchProblem> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            Node::Other => {}
            _ => return Err(self.malformed("a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), PytorchProblem> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Node::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|&[k, v]| (k, v))),
            Node::Other if rest.is_empty() => {}
            _ => return Err(self.malformed("a dictionary and pairs for it")),
        }
        Ok(())
    }

    fn memoize(&mut self, place: u32) -> Result<(), PytorchProblem> {
        self.check_room(self.memo.len(), "memo places")?;
        let top = self.stack.last().copied();
        let top = top.ok_or_else(|| self.malformed("a value"))?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), PytorchProblem> {
        let id = self.memo.get(&place).copied();
        self.push_id(id.ok_or_else(|| self.malformed("a value seen before"))?)
    }

    fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    fn top(&mut self) -> Result<&mut Node<'a>, PytorchProblem> {
        match self.stack.last() {
            Some(&id) => Ok(&mut self.nodes[id as usize]),
            None => Err(self.malformed("a value")),
        }
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), PytorchProblem> {
        self.check_room(self.nodes.len(), "values")?;
        self.nodes.push(node);
        self.push_id((self.nodes.len() - 1) as Id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), PytorchProblem> {
        self.check_room(self.stack.len(), "values on the stack")?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PytorchProblem> {
        let base = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.get(base..).and_then(|run| run.last()).copied();
        let top = top.ok_or_else(|| self.malformed("a value"))?;
        self.stack.pop();
        Ok(top)
    }

    /// The values since the last mark.
    fn pop_run(&mut self) -> Result<Vec<Id>, PytorchProblem> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| self.malformed("a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    /// A copy of arguments. Tensors need at most eight, so a shared tuple cannot multiply.
    fn copy_of(&self, arguments: &[Id]) -> Result<Vec<Id>, PytorchProblem> {
        match arguments.len() {
            0..=8 => Ok(arguments.to_vec()),
            _ => Err(self.malformed("at most eight arguments")),
        }
    }

    fn check_room(&self, len: usize, what: &'static str) -> Result<(), PytorchProblem> {
        let max = MAX_NODES;
        if len < max { Ok(()) } else { Err(PytorchProblem::TooMuch { what, max }) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PytorchProblem> {
        let taken = self.bytes[self.position..].get(..len);
        let taken = taken.ok_or(PytorchProblem::Truncated { what: "the pickle" })?;
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PytorchProblem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, PytorchProblem> {
        let rest = &self.bytes[self.position..];
        let len = rest.iter().take(MAX_GLOBAL).position(|&b| b == b'\n');
        let len = len.ok_or_else(|| self.malformed("the name of a global"))?;
        let line = std::str::from_utf8(self.take(len)?);
        let line = line.map_err(|_| self.malformed("text in UTF-8"))?;
        self.take(1)?;
        Ok(line)
    }

    fn malformed(&self, expected: &'static str) -> PytorchProblem {
        PytorchProblem::Malformed { at: self.position, expected }
    }
}
