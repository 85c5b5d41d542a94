//! CPython underneath PyO3: the only folder of this crate, besides `sys`, that holds `unsafe` code.
//!
//! | module | owns |
//! |---|---|
//! | `bytes` | buffers on their way to and from sockets |
//! | `call` | vectorcall |
//! | `errors` | from the system's errors to Python's |
//! | `cell` | loop state without a lock, and who may touch it |
//! | `context` | context variables |
//! | `fastcall` | methods without argument tuples |
//! | `handle`, `handle_words`, `handle_type`, `timer`, `storage` | `Handle` and `TimerHandle` |
//! | `heap_type`, `payload` | types over classes that Python code defines |
//! | `imports` | objects of the standard library |
//! | `socket_object` | the descriptor of a socket object |
//! | `openssl` | the library underneath `ssl` |

#[expect(
    unsafe_code,
    reason = "buffer protocol and uninitialised bytes objects"
)]
pub(crate) mod bytes;
#[expect(unsafe_code, reason = "vectorcall takes raw argument arrays")]
pub(crate) mod call;
#[expect(
    unsafe_code,
    reason = "a cell whose exclusivity the interpreter's lock guarantees"
)]
pub(crate) mod cell;
#[expect(unsafe_code, reason = "PyO3 does not wrap PyContext_Enter and its kin")]
pub(crate) mod context;
pub(crate) mod errors;
#[expect(unsafe_code, reason = "C entry points of methods")]
pub(crate) mod fastcall;
#[expect(unsafe_code, reason = "instances laid out over asyncio's own slots")]
pub(crate) mod handle;
#[expect(unsafe_code, reason = "C entry points of getters and of deallocation")]
pub(crate) mod handle_type;
#[expect(unsafe_code, reason = "reads and writes the words of a handle")]
mod handle_words;
#[expect(unsafe_code, reason = "PyType_FromSpec")]
pub(crate) mod heap_type;
pub(crate) mod imports;
#[expect(
    unsafe_code,
    reason = "calls a C library by pointers that Python holds"
)]
pub(crate) mod openssl;
#[expect(unsafe_code, reason = "C entry points of garbage collection")]
pub(crate) mod payload;
#[expect(unsafe_code, reason = "a bytes object that is written again and again")]
pub(crate) mod read_buffer;
#[expect(unsafe_code, reason = "reads the head of socket objects")]
pub(crate) mod socket_object;
#[expect(unsafe_code, reason = "the interpreter's allocator")]
mod storage;
#[expect(unsafe_code, reason = "reads the tail of timer handles")]
pub(crate) mod timer;
