//! Names as small numbers, so that a row need not hold their text.
//!
//! A symbol stays valid while it is used or its value is kept; [`Names::sweep`] gives the others free.

use std::collections::HashMap;

use crate::job::Name;

/// The number of a name within one [`Names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

impl Symbol {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Slot<T> {
    name: Name,
    uses: usize,
    value: T,
}

/// Names with a value each.
#[derive(Debug)]
pub struct Names<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<Symbol>,
    by_name: HashMap<Name, Symbol>,
    // Most callers name the same queue and worker again and again.
    last: Option<Symbol>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_name: HashMap::new(), last: None }
    }
}

impl<T: Default> Names<T> {
    /// The symbol of `name`, new if need be.
    pub fn intern(&mut self, name: &Name) -> Symbol {
        if let Some(symbol) = self.last.filter(|symbol| self.slot(*symbol).is_some_and(|slot| slot.name == *name)) {
            return symbol;
        }
        let symbol = self.find(name).unwrap_or_else(|| self.add(name.clone()));
        self.last = Some(symbol);
        symbol
    }

    /// The symbol of `name`, if it has one.
    pub fn find(&self, name: &Name) -> Option<Symbol> {
        self.by_name.get(name).copied()
    }

    /// The name and value of a symbol.
    pub fn get(&self, symbol: Symbol) -> Option<(&Name, &T)> {
        self.slot(symbol).map(|slot| (&slot.name, &slot.value))
    }

    /// The value of a symbol.
    pub fn value_mut(&mut self, symbol: Symbol) -> Option<&mut T> {
        self.slot_mut(symbol).map(|slot| &mut slot.value)
    }

    /// One more row uses it.
    pub fn retain(&mut self, symbol: Symbol) {
        if let Some(slot) = self.slot_mut(symbol) {
            slot.uses += 1;
        }
    }

    /// One row fewer uses it.
    pub fn release(&mut self, symbol: Symbol) {
        if let Some(slot) = self.slot_mut(symbol) {
            slot.uses = slot.uses.saturating_sub(1);
        }
    }

    /// All names with how many rows use each.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, usize, &T)> {
        self.slots.iter().flatten().map(|slot| (&slot.name, slot.uses, &slot.value))
    }

    /// Forgets names that no row uses and whose value need not be kept.
    pub fn sweep(&mut self, keep: impl Fn(&T) -> bool) {
        for (number, place) in (0..).zip(&mut self.slots) {
            if let Some(slot) = place.take_if(|slot| slot.uses == 0 && !keep(&slot.value)) {
                self.by_name.remove(&slot.name);
                self.free.push(Symbol(number));
            }
        }
    }

    fn add(&mut self, name: Name) -> Symbol {
        let slot = Some(Slot { name: name.clone(), uses: 0, value: T::default() });
        let symbol = if let Some(symbol) = self.free.pop() {
            self.slots[symbol.index()] = slot;
            symbol
        } else {
            let symbol = Symbol(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(slot);
            symbol
        };
        self.by_name.insert(name, symbol);
        symbol
    }

    fn slot(&self, symbol: Symbol) -> Option<&Slot<T>> {
        self.slots.get(symbol.index())?.as_ref()
    }

    fn slot_mut(&mut self, symbol: Symbol) -> Option<&mut Slot<T>> {
        self.slots.get_mut(symbol.index())?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Name {
        Name::stored(text)
    }

    #[test]
    fn a_name_has_one_number_and_a_value() {
        let mut names: Names<u8> = Names::default();
        let symbols: Vec<_> = ["a", "b", "a", "a", "b", "c"].map(|text| names.intern(&of(text))).to_vec();
        assert_eq!(symbols, [0, 1, 0, 0, 1, 2].map(Symbol));
        *names.value_mut(symbols[1]).unwrap() = 7;
        assert_eq!((names.get(symbols[1]), names.get(symbols[0])), (Some((&of("b"), &7)), Some((&of("a"), &0))));
        assert_eq!((names.find(&of("b")), names.find(&of("d"))), (Some(symbols[1]), None));
        assert!(names.get(Symbol(9)).is_none() && names.value_mut(Symbol(9)).is_none());
    }

    #[test]
    fn uses_are_counted() {
        let mut names: Names<u8> = Names::default();
        let (a, b) = (names.intern(&of("a")), names.intern(&of("b")));
        for _ in 0..3 {
            names.retain(a);
        }
        names.release(a);
        names.release(b);
        let counted: Vec<_> = names.iter().map(|(name, uses, value)| (name.as_str(), uses, *value)).collect();
        assert_eq!(counted, [("a", 2, 0), ("b", 0, 0)]);
    }

    #[test]
    fn what_is_neither_used_nor_kept_is_forgotten_and_its_number_given_again() {
        let mut names: Names<bool> = Names::default();
        let [used, kept, both, neither] = ["used", "kept", "both", "neither"].map(|text| names.intern(&of(text)));
        names.retain(used);
        names.retain(both);
        *names.value_mut(kept).unwrap() = true;
        *names.value_mut(both).unwrap() = true;
        names.sweep(|keep| *keep);
        assert_eq!(names.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["used", "kept", "both"]);
        assert_eq!((names.find(&of("neither")), names.get(neither)), (None, None));
        assert_eq!((names.intern(&of("new")), names.intern(&of("neither"))), (neither, Symbol(4)));
    }
}
