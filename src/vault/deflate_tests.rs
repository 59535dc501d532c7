//! Deflating in blocks: against one stream, and against itself with other numbers of threads.

use std::io::Write;

use flate2::read::DeflateDecoder;

use super::*;
use crate::vault::disk::tests::{json, random};

fn deflated(stock: &Stock, level: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |piece: &[u8]| out.write_all(piece);
    let Ok(checksum) = stock.deflate(level, (&mut { bytes }, &Open), bytes.len() as u64, &mut put)
    else {
        panic!("nothing can fail in memory");
    };
    assert_eq!(checksum, crc32fast::hash(bytes));
    assert!(stock.blocks.are_idle() && stock.cores.are_idle());
    assert!(lock(&stock.spare).is_empty(), "memory comes back");
    out
}

fn in_one_stream(level: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * bytes.len() + 1000);
    let mut compress = Compress::new(Compression::new(level), false);
    let status = compress.compress_vec(bytes, &mut out, FlushCompress::Finish).unwrap();
    assert_eq!(status, Status::StreamEnd);
    out
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

#[test]
fn one_block_is_one_stream() {
    let stock = Stock::with_cores(2);
    let text = json(BLOCK + 1000);
    for length in [0, 1, 1000, WINDOW, WINDOW + 1, BLOCK - 1, BLOCK] {
        for level in [2, 6, 9] {
            let bytes = &text[..length];
            assert!(deflated(&stock, level, bytes) == in_one_stream(level, bytes), "{length}");
        }
    }
    let noise = random(1, BLOCK);
    assert!(deflated(&stock, 6, &noise) == in_one_stream(6, &noise));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mixed = [json(BLOCK + 5), random(2, BLOCK), json(BLOCK)].concat();
    for length in [BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK + 5] {
        for level in [3, 6] {
            let bytes = &mixed[..length];
            let alone = deflated(&Stock::with_cores(1), level, bytes);
            assert!(inflated(&alone) == bytes, "{length} at {level}");
            let stock = Stock::with_cores(5);
            assert!(deflated(&stock, level, bytes) == alone, "{length} at {level}");
        }
    }
}

#[test]
fn what_went_before_changes_nothing() {
    let stock = Stock::with_cores(2);
    let text = json(3 * BLOCK);
    let alone = deflated(&stock, 6, &text);
    // Held all the time, so that the others stay.
    let other = stock.held(stock.blocks.take());
    for before in [random(4, 3 * BLOCK), json(4 * BLOCK)[BLOCK / 2..].to_vec()] {
        deflated_beside(&stock, 9, &before);
        assert!(!lock(&stock.spare).is_empty());
        assert!(deflated_beside(&stock, 6, &text) == alone);
    }
    stock.give_back(other);
}

/// As `deflated`, while somebody else holds a block.
fn deflated_beside(stock: &Stock, level: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |piece: &[u8]| out.write_all(piece);
    assert!(stock.deflate(level, (&mut { bytes }, &Open), bytes.len() as u64, &mut put).is_ok());
    out
}

#[test]
fn blocks_cost_hardly_any_room() {
    let text = json(4 * BLOCK);
    for level in [3, 6] {
        let blocks = deflated(&Stock::with_cores(2), level, &text).len();
        assert!(blocks * 1000 < in_one_stream(level, &text).len() * 1005, "level {level}");
    }
    let noise = random(3, 3 * BLOCK);
    assert!(deflated(&Stock::with_cores(2), 6, &noise).len() * 1000 < noise.len() * 1001);
}

#[test]
fn many_packages_share_the_blocks_and_the_cores() {
    let stock = Stock::with_cores(2);
    let packages: Vec<Vec<u8>> = (0..8).map(|n| json(n * BLOCK / 2)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = packages
            .iter()
            .map(|bytes| scope.spawn(|| deflated_beside(&stock, 2, bytes)))
            .collect();
        for (thread, bytes) in threads.into_iter().zip(&packages) {
            assert!(inflated(&thread.join().unwrap()) == *bytes);
        }
    });
    assert!(stock.blocks.are_idle() && stock.cores.are_idle());
    assert!(lock(&stock.spare).is_empty());
}

#[test]
fn whatever_fails_everything_comes_back() {
    let text = json(5 * BLOCK);
    let stock = Stock::with_cores(2);
    for length in [100, BLOCK + 1, 4 * BLOCK] {
        for said in [length - 1, length + 1] {
            let mut bytes = &text[..length];
            let result = stock.deflate(2, (&mut bytes, &Open), said as u64, &mut |_| Ok(()));
            assert!(matches!(result, Err(WriteError::Length)), "{length}");
        }
        let mut full = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let result = stock.deflate(2, (&mut &text[..length], &Open), length as u64, &mut full);
        assert!(matches!(result, Err(WriteError::Zip(_))), "{length}");
        let mut broken = (&text[..length / 2]).chain(Broken);
        let result = stock.deflate(2, (&mut broken, &Open), length as u64, &mut |_| Ok(()));
        assert!(matches!(result, Err(WriteError::Raw(_))), "{length}");
        assert!(stock.blocks.are_idle() && stock.cores.are_idle());
        assert!(lock(&stock.spare).is_empty());
    }
}

/// A disk that cannot be read.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(5))
    }
}
