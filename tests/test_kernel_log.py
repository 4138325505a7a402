"""What of a kernel's log fails a test, what is only noted, and whom SELinux denied what."""

from __future__ import annotations

import pytest

from devices.kernel_log import MARKER, kernel_news, selinux_denial, since_marker

CUT = "[   10.000000] ------------[ cut here ]------------\n"


def warning(where: str, *stack: str) -> str:
    lines = [f"[   10.1] WARNING: CPU: 5 PID: 239 at {where}", "[   10.2] Call trace:", *stack, "---[ end trace 0 ]---"]
    return CUT + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "line",
    [
        "[26160.412029] INFO: task kswapd0:384 blocked for more than 120 seconds.",
        "[  245.1][   T48] INFO: task kworker/u16:3:77 blocked in I/O wait for more than 122 seconds.",
        "<3>[ 1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[ 1.0] rcu: INFO: rcu_sched self-detected stall on CPU",
        "[ 1.0] INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 3-... }",
        "[ 1.0] UBSAN: array-index-out-of-bounds in mm/zsmalloc.c:812:3",
        "[ 1.0] UBSAN: Undefined behaviour in drivers/block/zram/zram_drv.c:12:3",
        "[ 1.0] BUG: KASAN: use-after-free in zram_free_page+0x20/0x100 [zram]",
        "[ 1.0] BUG: Bad page state in process kswapd0  pfn:12345",
        "[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:5]",
        "[ 1.0] Watchdog detected hard LOCKUP on cpu 1",
        "[ 1.0] Unable to handle kernel paging request at virtual address ffffffc000000000",
        "[ 1.0] Internal error: Oops: 96000046 [#1] PREEMPT SMP",
        "[ 1.0] kernel BUG at mm/slub.c:305!",
        "[ 1.0] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
        "[ 1.0] I/O error, dev loop5, sector 2048 op 0x1:(WRITE) flags 0x8800 phys_seg 1 prio class 2",
        "[ 1.0] blk_update_request: I/O error, dev sda, sector 99 op 0x0:(READ)",
        "[ 1.0] blk_update_request: critical medium error, dev sda, sector 99",
        "[ 1.0] Buffer I/O error on dev dm-50, logical block 5, lost async page write",
        "[ 1.0] Buffer I/O error on device loop5, logical block 5",
        "[ 1.0] Write-error on swap-device (254:0:88)",
        "[ 1.0] zram: Decompression failed! err=-22, page=12",
        "[ 1.0] F2FS-fs (dm-50): Inconsistent error blkaddr:12345, sit bitmap:0",
        "[ 1.0] F2FS-fs (sda12): access invalid blkaddr:4294967295",
        "[ 1.0] EXT4-fs error (device dm-5): ext4_lookup:1700: inode #2: comm ls: deleted inode referenced: 12",
        "[ 1.0] ufshcd-qcom 1d84000.ufshc: ufshcd_abort: Device abort task at tag 5",
        "[ 1.0] Out of memory: Killed process 12 (x) total-vm:1kB",
    ],
)
def test_what_breaks_or_stops_what_is_measured_through_is_a_fault(line: str) -> None:
    assert kernel_news(f"[ 0.9] usb: connected\n{line}\n[ 1.1] usb: gone\n").faults == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "[ 1.0] healthd: DEBUG: battery l=57",
        "[ 1.0] msm_drm: DSI_DEBUG: x",
        "[ 1.0] ramoops: using 0x100000@0xb0000000",
        "[ 1.0] zram: Cannot change disksize for initialized device",
        "[ 1.0] zram0: detected capacity change from 0 to 8388608",
        "[ 1.0] F2FS-fs (dm-50): Mounted with checkpoint version = 1a2b3c",
        "[ 1.0] operation not supported error, dev loop5, sector 0 op 0x9:(WRITE_ZEROES)",
        "[ 1.0] EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "[ 1.0] ufshcd-qcom 1d84000.ufshc: ufshcd_query_attr: opcode 0x04 for idn 15 failed, index 0, err = 253",
        "[ 1.0] wlan: Call statistics: 5",
    ],
)
def test_the_daily_talk_of_drivers_is_nothing(line: str) -> None:
    news = kernel_news(line)
    assert (news.faults, news.noted) == ((), ())


@pytest.mark.parametrize(
    "where",
    [
        "mm/page_alloc.c:5432 __alloc_pages+0x20/0x30", "kernel-4.4/mm/vmscan.c:12 shrink_node+0x1/0x2",
        "drivers/block/zram/zram_drv.c:1290 zram_free_page+0x1/0x2", "block/blk-mq.c:12 x+0x1/0x2",
        "../drivers/ufs/core/ufshcd.c:99 ufshcd_queuecommand+0x1/0x2", "fs/f2fs/segment.c:3500 x+0x1/0x2",
        "fs/fs-writeback.c:12 x+0x1/0x2", "drivers/scsi/ufs/ufs-mediatek.c:12 x+0x1/0x2",
    ],
)  # fmt: skip
def test_warnings_of_what_is_measured_through_are_faults(where: str) -> None:
    assert len(kernel_news(warning(where)).faults) == 1


@pytest.mark.parametrize(
    "where",
    [
        "kernel-4.4/kernel/irq/manage.c:513 enable_irq+0x88/0xcc()", "drivers/gpu/arm/midgard/mm/x.c:3 y+0x1/0x2",
        "sound/soc/soc-pcm.c:12 x+0x1/0x2", "net/core/dev.c:99 x+0x1/0x2", "fs/proc/generic.c:377 x+0x1/0x2",
        "gpu_vendor_thing+0x20/0x80 [gpu]", "drivers/power/supply/qcom/battery.c:9 x+0x1/0x2",
        "arch/arm64/mm/fault.c:600 x+0x1/0x2",
    ],
)  # fmt: skip
def test_warnings_of_other_drivers_are_noted_once_each(where: str) -> None:
    news = kernel_news(warning(where) + warning(where))
    assert (len(news.faults), len(news.noted)) == (0, 2)


def test_of_code_that_anybody_calls_the_stack_says_whose_warning_it_is() -> None:
    log = warning("lib/refcount.c:28 refcount_warn_saturate+0x1/0x2", "[ 10.3]  zram_bvec_write+0x20/0x30 [zram]")
    assert len(kernel_news(log).faults) == 1


def test_a_failed_allocation_is_a_fault_only_in_what_is_measured_through() -> None:
    of_a_camera = (
        "[ 1.0] cameraserver: page allocation failure: order:9, mode:0xcc0\n[ 1.1] Call trace:\n cam_alloc+0x1/0x2\n"
    )
    assert kernel_news(of_a_camera).noted
    assert not kernel_news(of_a_camera).faults
    assert kernel_news(of_a_camera.replace("cam_alloc", "zs_malloc")).faults


def test_a_stack_that_nobody_explains_is_noted() -> None:
    log = "[ 1.0] sysfs: cannot create duplicate filename '/x'\n[ 1.1] Call trace:\n[ 1.2]  dump_stack+0x1/0x2\n"
    assert kernel_news(log).noted == ("[ 1.0] sysfs: cannot create duplicate filename '/x'",)


def test_kills_are_no_fault_where_they_are_wanted() -> None:
    kill = (
        "[ 1.0] app invoked oom-killer: gfp_mask=0x1\n[ 1.1] Call trace:\n[ 1.2]  x+0x1/0x2\n"
        "[ 1.3] Out of memory: Killed process 12 (app) total-vm:1kB\n"
    )
    assert kernel_news(kill).faults
    news = kernel_news(f"{kill}[ 1.4] BUG: Bad page map\n{kill}", kills_expected=True)
    assert news.faults == ("[ 1.4] BUG: Bad page map",)


def test_only_what_came_behind_the_last_mark() -> None:
    assert since_marker(f"old\n[ 1.0] {MARKER} begin\nnew\n") == " begin\nnew\n"
    assert since_marker("all that the buffer still holds\n") == "all that the buffer still holds\n"


BACKING = "/data/per_boot/zram_writeback"


def denial(what: str, *, scontext: str = "u:r:kernel:s0") -> str:
    return (
        f'[ 1.0] type=1400 audit(1789370000.123:456): avc:  denied  {{ read write }} for  comm="kworker/u16:2" {what} '
        f"scontext={scontext} tcontext=u:object_r:zram_data_file:s0 tclass=file permissive=0"
    )


@pytest.mark.parametrize(
    "what", [f'path="{BACKING}"', 'name="zram_writeback" dev="dm-50" ino=12', 'path="/per_boot/zram_writeback"']
)
def test_a_denial_of_any_worker_on_the_backing_file_is_found(what: str) -> None:
    assert selinux_denial(f"x\n{denial(what)}\ny\n", BACKING) == denial(what)


def test_what_names_the_backing_file_comes_before_what_does_not() -> None:
    ours, other = denial(f'path="{BACKING}"'), denial('path="/data/vendor/x"')
    assert selinux_denial(f"{ours}\n{other}\n", BACKING) == ours


@pytest.mark.parametrize("line", ["", "avc: granted", denial("", scontext="u:r:shell:s0"), "loop5: denied nothing"])
def test_what_others_were_denied_is_not_it(line: str) -> None:
    assert selinux_denial(line, BACKING) is None
