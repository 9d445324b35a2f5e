//! An end for what fuel does not see: work of the template engine that takes memory or time without
//! paying for it. Such work can't be interrupted from outside, but it allocates; so the allocator
//! looks at the thread's budget, and a thread that has used it up stays there for good. Its template
//! is not used again, so that what is lost is one sleeping thread and at most its budget.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

const STACK_BYTES: usize = 256 << 20;   // reserved, not used: dropping deeply nested values recurses
const SECONDS_MAX: u64 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct Budget {
    left: AtomicIsize,
    spent: AtomicBool,
}

thread_local! {
    static BUDGET: Cell<*const Budget> = const { Cell::new(std::ptr::null()) };
}

pub struct Allocator;

impl Allocator {
    fn pay(bytes: isize) {
        let budget = BUDGET.with(Cell::get);
        // SAFETY: the pointer is null or to a budget that this thread holds an Arc of.
        let Some(budget) = (unsafe { budget.as_ref() }) else { return };
        let left = budget.left.fetch_sub(bytes, Relaxed) - bytes;
        if bytes > 0 && (left < 0 || budget.spent.load(Relaxed)) {
            budget.spent.store(true, Relaxed);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    }
}

// SAFETY: everything is the system allocator's; what is added neither allocates nor unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Allocator::pay(layout.size() as isize);
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Allocator::pay(layout.size() as isize);
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        Allocator::pay(-(layout.size() as isize));
        System.dealloc(p, layout)
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Allocator::pay(size as isize - layout.size() as isize);
        System.realloc(p, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Why there is no result.
pub enum Lost {
    Panicked,
    /// The thread sleeps for ever, or runs until it allocates the next time.
    Spent,
    NoThread(String),
}

/// Runs work on a thread of its own, with a deep stack and at most so many bytes in use.
pub fn run<T: Send + 'static>(bytes_max: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    run_measured(bytes_max, work).map(|(result, _)| result)
}

/// The same, with how many bytes the result has in use.
pub fn run_measured<T: Send + 'static>(
    bytes_max: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, usize), Lost> {
    let budget = Arc::new(Budget {
        left: AtomicIsize::new(isize::try_from(bytes_max).unwrap_or(isize::MAX)),
        spent: AtomicBool::new(false),
    });
    let (sender, receiver) = mpsc::channel();
    let theirs = budget.clone();
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            BUDGET.with(|cell| cell.set(Arc::as_ptr(&theirs)));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            BUDGET.with(|cell| cell.set(std::ptr::null()));
            let used = bytes_max as isize - theirs.left.load(Relaxed);
            let _ = sender.send(result.map(|result| (result, used.max(0) as usize)));
        })
        .map_err(|error| Lost::NoThread(error.to_string()))?;
    let end = Instant::now() + Duration::from_secs(SECONDS_MAX);
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(result) => return result.map_err(|_| Lost::Panicked),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Lost::Panicked),
            Err(mpsc::RecvTimeoutError::Timeout) if budget.spent.load(Relaxed) || Instant::now() > end => {
                budget.spent.store(true, Relaxed);
                return Err(Lost::Spent);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}
