//! The cells of one submission, by slot, and when what they own is freed.
//!
//! Part of [`super::Slots`]. Nearly every cell borrows from the submission or is a number, so a form of hundreds of fields is freed as
//! one block: asking each cell whether there is something to free costs as much as reading all names. Whether one owns
//! something is noted when it is put; forgetting that would leak, and nothing worse.

use std::mem::{ManuallyDrop, replace};

use super::Cell;
use crate::layout::Slot;

/// As many cells as the layout has slots.
#[derive(Clone, Debug)]
pub(super) struct Cells<'a> {
    cells: Vec<ManuallyDrop<Cell<'a>>>,
    /// Whether some cell that was put owns memory.
    owning: bool,
}

impl<'a> Cells<'a> {
    /// Cells with nothing bound.
    pub fn new(len: usize) -> Cells<'a> {
        let mut cells = Vec::with_capacity(len);
        cells.resize_with(len, || ManuallyDrop::new(Cell::Unbound));
        Cells { cells, owning: false }
    }

    /// The cell of a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> &Cell<'a> {
        &self.cells[slot.index()]
    }

    /// Puts a cell in the place of the one before.
    #[inline(always)]
    pub fn put(&mut self, slot: Slot, cell: Cell<'a>) {
        if self.owning || cell.owns() {
            return self.put_owning(slot, cell);
        }
        self.cells[slot.index()] = ManuallyDrop::new(cell);
    }

    /// Apart for its size, not for being rare: after one owning cell every further one is put here.
    #[inline(never)]
    fn put_owning(&mut self, slot: Slot, cell: Cell<'a>) {
        self.owning = true;
        let before = replace(&mut self.cells[slot.index()], ManuallyDrop::new(cell));
        drop(ManuallyDrop::into_inner(before));
    }
}

impl Drop for Cells<'_> {
    fn drop(&mut self) {
        if self.owning {
            self.cells.drain(..).map(ManuallyDrop::into_inner).for_each(drop);
        }
    }
}
