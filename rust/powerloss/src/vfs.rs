//! The layer below SQLite: that of the system, with every call on the files of a [`Disk`] noted, and failed when told so.
//!
//! It is the default of this process. Nothing is pressed onto the real disk: what a power loss would leave is computed
//! from the notes. The one place with `unsafe` in it, as SQLite's interface is C.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rusqlite::ffi;

use crate::disk::{Call, Disk, FileId};

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

/// Makes this layer the one that SQLite uses in this process. Again: nothing.
///
/// # Panics
///
/// When SQLite does not take it.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: the system's layer lives as long as the process, and so does ours, which is leaked.
        unsafe {
            let system = ffi::sqlite3_vfs_find(ptr::null());
            let mut ours = *system;
            ours.zName = c"powerloss".as_ptr();
            ours.szOsFile = c_int::try_from(size_of::<File>()).unwrap_or(0) + (*system).szOsFile;
            ours.pAppData = system.cast();
            ours.pNext = ptr::null_mut();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            let code = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 1);
            assert_eq!(code, ffi::SQLITE_OK);
        }
    });
}

/// From now on what happens below the disk's folder is noted.
pub fn watch(disk: &Arc<Disk>) {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(disk.clone());
}

/// No longer. Files that are open stay watched.
pub fn unwatch(disk: &Arc<Disk>) {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, disk));
}

pub(crate) fn disk_of(path: &Path) -> Option<Arc<Disk>> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.iter().find(|disk| path.starts_with(disk.folder())).cloned()
}

/// SQLite's file: ours, followed in memory by the system's.
#[repr(C)]
struct File {
    methods: *const ffi::sqlite3_io_methods,
    noted: *mut Noted,
}

struct Noted {
    disk: Arc<Disk>,
    file: FileId,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe fn system(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: set by `install`.
    unsafe { (*vfs).pAppData.cast() }
}

/// The system's part of a file.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocates `szOsFile` bytes, which are ours and then the system's.
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

unsafe fn methods(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    // SAFETY: the system's methods are static and are set while the file is open.
    unsafe { &*(*real(file)).pMethods }
}

unsafe fn noted<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Noted> {
    // SAFETY: null, or a box that lives until the file is closed.
    unsafe { (*file.cast::<File>()).noted.as_ref() }
}

unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite's names end with a zero.
    Some(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

/// The code that this call must fail with, when it must.
unsafe fn fault(file: *mut ffi::sqlite3_file, call: Call) -> Option<c_int> {
    // SAFETY: as for `noted`.
    unsafe { noted(file) }.and_then(|noted| noted.disk.fault(call))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's own arguments, handed on; `file` has room for both parts.
    unsafe {
        let ours = file.cast::<File>();
        (*ours).methods = ptr::null();
        (*ours).noted = ptr::null_mut();
        let path = path_of(name);
        let disk = path.and_then(disk_of);
        if let Some(code) = disk.as_ref().and_then(|disk| disk.fault(Call::Open)) {
            return code;
        }
        let existed = path.is_some_and(Path::exists);
        let Some(open) = (*system(vfs)).xOpen else { return ffi::SQLITE_ERROR };
        let code = open(system(vfs), name, real(file), flags, out);
        if !(*real(file)).pMethods.is_null() {
            (*ours).methods = &raw const METHODS;
        }
        if code == ffi::SQLITE_OK
            && let (Some(disk), Some(path)) = (disk, path)
        {
            let id = disk.opened(path, existed);
            (*ours).noted = Box::into_raw(Box::new(Noted { disk, file: id }));
        }
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's own arguments, handed on.
    unsafe {
        let disk = path_of(name).and_then(disk_of);
        if let Some(code) = disk.as_ref().and_then(|disk| disk.fault(Call::Delete)) {
            return code;
        }
        let Some(delete) = (*system(vfs)).xDelete else { return ffi::SQLITE_ERROR };
        let code = delete(system(vfs), name, 0);
        if code == ffi::SQLITE_OK
            && let (Some(disk), Some(path)) = (disk, path_of(name))
        {
            disk.deleted(path, sync != 0);
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the box was made by `open`, and nobody uses the file after this.
    unsafe {
        let ours = file.cast::<File>();
        if !(*ours).noted.is_null() {
            drop(Box::from_raw((*ours).noted));
            (*ours).noted = ptr::null_mut();
        }
        methods(file).xClose.map_or(ffi::SQLITE_OK, |close| close(real(file)))
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: SQLite's own arguments, handed on.
    unsafe {
        if let Some(code) = fault(file, Call::Read) {
            return code;
        }
        methods(file).xRead.map_or(ffi::SQLITE_ERROR, |read| read(real(file), to, amount, at))
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: SQLite's own arguments, handed on; `from` has `amount` bytes.
    unsafe {
        if let Some(code) = fault(file, Call::Write) {
            return code;
        }
        let code = methods(file).xWrite.map_or(ffi::SQLITE_ERROR, |write| write(real(file), from, amount, at));
        if code == ffi::SQLITE_OK
            && let Some(noted) = noted(file)
        {
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(amount).unwrap_or(0));
            noted.disk.wrote(noted.file, usize::try_from(at).unwrap_or(0), bytes);
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's own arguments, handed on.
    unsafe {
        if let Some(code) = fault(file, Call::Truncate) {
            return code;
        }
        let code = methods(file).xTruncate.map_or(ffi::SQLITE_ERROR, |truncate| truncate(real(file), size));
        if code == ffi::SQLITE_OK
            && let Some(noted) = noted(file)
        {
            noted.disk.truncated(noted.file, usize::try_from(size).unwrap_or(0));
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as for `noted`.
    unsafe {
        if let Some(code) = fault(file, Call::Sync) {
            if let Some(noted) = noted(file) {
                noted.disk.failed_to_sync(noted.file);
            }
            return code;
        }
        if let Some(noted) = noted(file) {
            noted.disk.synced(noted.file);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's own arguments, handed on.
    unsafe {
        if let Some(code) = fault(file, Call::Lock) {
            return code;
        }
        methods(file).xLock.map_or(ffi::SQLITE_ERROR, |lock| lock(real(file), level))
    }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's own arguments, handed on.
    unsafe {
        if let Some(code) = fault(file, Call::Share) {
            return code;
        }
        methods(file).xShmMap.map_or(ffi::SQLITE_ERROR, |map| map(real(file), page, size, extend, out))
    }
}

/// Methods that only hand on.
macro_rules! hand_on {
    ($($name:ident = $method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: SQLite's own arguments, handed on.
            unsafe { methods(file).$method.map_or(ffi::SQLITE_ERROR, |method| method(real(file) $(, $argument)*)) }
        })*
    };
}

hand_on! {
    file_size = xFileSize(out: *mut i64);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(out: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap = xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as above.
    unsafe {
        if let Some(barrier) = methods(file).xShmBarrier {
            barrier(real(file));
        }
    }
}
