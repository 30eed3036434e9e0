//! Flat RAM from address 0 on.
#![expect(unsafe_code, reason = "hands out pages of an allocation that it owns")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::PAGE_TABLES;
use ultravisor_cpu::{Access, Bus, HostPage, Page};

const PAGE: u64 = 4096;

pub struct Ram {
    base: NonNull<u8>,
    layout: Layout,
}

impl Ram {
    pub fn new(bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes as usize, PAGE as usize).expect("a size");
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
        Self { base, layout }
    }

    pub fn bytes(&self) -> u64 {
        self.layout.size() as u64
    }

    fn at(&self, gpa: u64, bytes: usize) -> NonNull<u8> {
        let end = (gpa as usize).checked_add(bytes).expect("no wrap");
        assert!(end <= self.layout.size(), "{gpa:#x} + {bytes} is not RAM");
        // SAFETY: inside the allocation.
        unsafe { self.base.add(gpa as usize) }
    }

    pub fn write(&mut self, gpa: u64, bytes: &[u8]) {
        let to = self.at(gpa, bytes.len());
        // SAFETY: `at` checked the range; no reference into the allocation exists.
        unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    pub fn read(&self, gpa: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        let from = self.at(gpa, bytes);
        // SAFETY: as in `write`.
        unsafe { from.as_ptr().copy_to_nonoverlapping(out.as_mut_ptr(), bytes) }
        out
    }

    /// Reads a little-endian number of `bytes` bytes.
    pub fn number(&self, gpa: u64, bytes: usize) -> u64 {
        let mut all = [0; 8];
        all[..bytes].copy_from_slice(&self.read(gpa, bytes));
        u64::from_le_bytes(all)
    }

    /// The low 4 GiB by 2 MiB pages; returns the root.
    pub fn identity_map(&mut self) -> u64 {
        let table = |number: u64| PAGE_TABLES.0 + number * PAGE;
        self.write(table(0), &(table(1) | 3).to_le_bytes());
        for directory in 0..4 {
            self.write(table(1) + directory * 8, &(table(2 + directory) | 3).to_le_bytes());
            for index in 0..512 {
                let entry = ((directory * 512 + index) << 21) | 0x83;
                self.write(table(2 + directory) + index * 8, &entry.to_le_bytes());
            }
        }
        table(0)
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody uses it any more.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

impl Bus for Ram {
    fn page(&mut self, page: Gpa, _: Access) -> Page {
        if page.0 + PAGE > self.layout.size() as u64 {
            return Page::Mmio;
        }
        // SAFETY: aligned, inside the allocation, which outlives the CPU's use of it: both are in
        // one machine, and `read` and `write` make no references.
        Page::Ram(unsafe { HostPage::new(self.at(page.0, PAGE as usize)) })
    }
}
