//! Hands the interpreter's version and build flags to the crate as `cfg`s (`Py_3_12`, `Py_GIL_DISABLED`, ...).

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
