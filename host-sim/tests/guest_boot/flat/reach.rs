//! What a device reaches: all of RAM, or what its TCE table maps.

use super::ram::Ram;
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const READ: u64 = 1;
const WRITE: u64 = 2;

/// A device's TCE table: TCEs by I/O page number.
pub type Table = BTreeMap<u64, u64>;

pub struct Reach<'a> {
    ram: &'a mut Ram,
    table: Option<&'a Table>,
    /// What was written: address and bytes.
    pub written: Vec<(u64, u64)>,
    /// Addresses that led nowhere.
    pub faults: Vec<u64>,
}

impl<'a> Reach<'a> {
    pub fn new(ram: &'a mut Ram, table: Option<&'a Table>) -> Self {
        Self { ram, table, written: Vec::new(), faults: Vec::new() }
    }

    /// Where a byte lies, if the device may do this to it.
    fn place(&mut self, at: u64, permission: u64) -> Option<u64> {
        let place = match self.table {
            None => Some(at),
            Some(table) => table
                .get(&(at / PAGE))
                .filter(|tce| *tce & permission != 0)
                .map(|tce| tce / PAGE * PAGE + at % PAGE),
        };
        let place = place.filter(|place| *place < self.ram.bytes());
        if place.is_none() {
            self.faults.push(at);
        }
        place
    }

    pub fn read(&mut self, at: u64, bytes: usize) -> Vec<u8> {
        let addresses = at..at + bytes as u64;
        let byte = |at| self.place(at, READ).map_or(0xff, |place| self.ram.number(place, 1) as u8);
        addresses.map(byte).collect()
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            if let Some(place) = self.place(at, WRITE) {
                self.ram.write(place, &[*byte]);
                self.written.push((place, 1));
            }
        }
    }

    /// Reads a little-endian number of `bytes` bytes.
    pub fn number(&mut self, at: u64, bytes: usize) -> u64 {
        let mut all = [0; 8];
        all[..bytes].copy_from_slice(&self.read(at, bytes));
        u64::from_le_bytes(all)
    }
}
