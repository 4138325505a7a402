// SPDX-License-Identifier: Apache-2.0
/*
 * The table of commands. A new one needs a row here, its cmd_ function in probe.h and a line in README.md; keys are
 * checked before the function runs. Rows of the same name stand together and differ in their first key.
 */
#include "probe.h"

#define KEYS(...) ((const struct key[]){ __VA_ARGS__, { 0 } })
#define TEXT(name) { name, KEY_TEXT, true, 0 }
#define TEXT_OPT(name) { name, KEY_TEXT, false, 0 }
#define CHOICE(name, choices) { name, KEY_TEXT, true, choices }
#define CHOICE_OPT(name, choices) { name, KEY_TEXT, false, choices }
#define NUMBER(name) { name, KEY_NUMBER, true, 0 }
#define NUMBER_OPT(name) { name, KEY_NUMBER, false, 0 }
#define FLAG(name) { name, KEY_FLAG, true, 0 }
#define FLAG_OPT(name) { name, KEY_FLAG, false, 0 }

#define ORDER "random|sequential"
#define IO_CLASS "default|realtime"
/* Which pages of a device: read by selection_make(). */
#define SELECTION TEXT("path"), NUMBER("lo"), NUMBER("hi"), NUMBER_OPT("pick"), NUMBER_OPT("pick_seed")
#define CONTENT TEXT("mix"), NUMBER("seed")
/* How many threads do what, for how long, and what else is written meanwhile. */
#define LASTING NUMBER("zram"), NUMBER("duration_s"), TEXT_OPT("pokes")
#define THREADS NUMBER_OPT("readers"), NUMBER_OPT("writers"), NUMBER_OPT("freers")

const struct command commands[] = {
	{ "hello", cmd_hello, (const struct key[]){ { 0 } } },
	{ "describe", cmd_describe, (const struct key[]){ { 0 } } },
	{ "overhead", cmd_overhead, KEYS(NUMBER("samples")) },
	{ "loop-attach", cmd_loop_attach,
	  KEYS(TEXT("file"), NUMBER("size"), FLAG("direct"), NUMBER("block"), FLAG("allocate"), FLAG("pin")) },
	{ "loop-detach", cmd_loop_detach, KEYS(TEXT("file"), FLAG_OPT("remove")) },
	{ "mapped-attach", cmd_mapped_attach, KEYS(TEXT("file"), NUMBER("size")) },
	{ "mapped-detach", cmd_mapped_detach, KEYS(TEXT("file"), FLAG_OPT("remove")) },
	{ "dm-below", cmd_dm_below, KEYS(TEXT("dev")) },
	{ "fill", cmd_fill_area, KEYS(TEXT("name"), NUMBER("bytes"), CONTENT) },
	{ "fill", cmd_fill_device, KEYS(SELECTION, CONTENT) },
	{ "verify", cmd_verify_area, KEYS(TEXT("name")) },
	{ "verify", cmd_verify_device, KEYS(SELECTION, CONTENT) },
	{ "corrupt", cmd_corrupt_area, KEYS(TEXT("name"), NUMBER("page")) },
	{ "corrupt", cmd_corrupt_device, KEYS(TEXT("path"), NUMBER("page")) },
	{ "free", cmd_free_device, KEYS(SELECTION) },
	{ "drop", cmd_drop, KEYS(TEXT("name")) },
	{ "pageout", cmd_pageout, KEYS(TEXT("name"), NUMBER_OPT("tries")) },
	{ "slots", cmd_slots, KEYS(TEXT("name"), TEXT_OPT("out")) },
	{ "writeback", cmd_writeback,
	  KEYS(TEXT("name"), NUMBER("zram"), NUMBER_OPT("pick"), NUMBER_OPT("pick_seed"), CHOICE_OPT("order", ORDER),
	       CHOICE_OPT("grammar", "auto|page_indexes|page_index")) },
	{ "write-timed", cmd_write_timed,
	  KEYS(TEXT("path"), TEXT("value"), NUMBER_OPT("zram"), TEXT_OPT("disks"), FLAG_OPT("sample")) },
	{ "touch", cmd_touch,
	  KEYS(TEXT("name"), CHOICE("order", ORDER), NUMBER("seed"), TEXT("out"), NUMBER_OPT("pages"),
	       NUMBER_OPT("zram"), CHOICE_OPT("io", IO_CLASS)) },
	{ "race", cmd_race,
	  KEYS(TEXT("name"), TEXT("victim"), NUMBER("zram"), TEXT("disk"), NUMBER("seed"), TEXT("out"),
	       CHOICE_OPT("grammar", "page_indexes|page_index"), CHOICE_OPT("writer", "write|none|burn"),
	       NUMBER_OPT("burn_percent")) },
	{ "reads", cmd_reads,
	  KEYS(TEXT("name"), NUMBER("zram"), TEXT("files"), TEXT("out"), NUMBER("reads"), NUMBER("pause_us"),
	       NUMBER("call_pages"), NUMBER("seed"), CHOICE_OPT("grammar", "page_indexes|page_index"),
	       CHOICE_OPT("writer", "write|none")) },
	{ "hammer", cmd_hammer_path,
	  KEYS(TEXT("path"), NUMBER("pages"), CONTENT, LASTING, THREADS, NUMBER_OPT("clashers"), NUMBER_OPT("piece")) },
	{ "hammer", cmd_hammer_area, KEYS(TEXT("name"), LASTING, THREADS, NUMBER_OPT("pageouts")) },
	{ "poke", cmd_poke, KEYS(NUMBER("zram"), NUMBER("duration_s"), TEXT("pokes"), NUMBER_OPT("pages")) },
	{ "meanwhile", cmd_meanwhile, KEYS(NUMBER("zram"), TEXT("first"), TEXT("disk"), TEXT("others")) },
	{ "blocks", cmd_blocks, KEYS(TEXT("path")) },
	{ "fs-shutdown", cmd_fs_shutdown, KEYS(TEXT("path")) },
	{ "load-start", cmd_load_start,
	  KEYS(CHOICE("kind", "cpu|random_read|sequential_write"), NUMBER("threads"), NUMBER("limit_s"),
	       TEXT_OPT("file"), NUMBER_OPT("size"), NUMBER_OPT("bytes"), NUMBER_OPT("rate")) },
	{ "load-stop", cmd_load_stop, (const struct key[]){ { 0 } } },
	{ "extents", cmd_extents, KEYS(TEXT("file"), TEXT("out")) },
	{ "control", cmd_control, KEYS(TEXT_OPT("file")) },
	{ "kworkers", cmd_kworkers, (const struct key[]){ { 0 } } },
	{ "renice", cmd_renice, KEYS(TEXT("pids"), NUMBER("minus")) },
	{ "apps-make", cmd_apps_make,
	  KEYS(NUMBER("count"), NUMBER("anonymous"), NUMBER("file_backed"), NUMBER("working_set"), CONTENT,
	       CHOICE("order", ORDER), TEXT("folder"), NUMBER_OPT("compact_ms")) },
	{ "apps-switch", cmd_apps_switch, KEYS(TEXT("sequence"), NUMBER("dwell_ms"), TEXT_OPT("backing")) },
	{ "apps-end", cmd_apps_end, (const struct key[]){ { 0 } } },
	{ "sample-start", cmd_sample_start,
	  KEYS(NUMBER("zram"), NUMBER("interval_ms"), NUMBER("duration_s"), TEXT_OPT("disk"), TEXT_OPT("backing")) },
	{ "sample-stop", cmd_sample_stop, KEYS(TEXT("out")) },
	{ "daemon-start", cmd_daemon_start,
	  KEYS(NUMBER("zram"), CHOICE("trigger", "idle|background|periodic"), NUMBER("limit_4k"),
	       NUMBER_OPT("total_4k"), NUMBER_OPT("age_s"), NUMBER_OPT("delay_ms"), NUMBER_OPT("period_ms")) },
	{ "daemon-stop", cmd_daemon_stop, KEYS(TEXT("out")) },
	{ "daemon-front", cmd_daemon_front, KEYS(NUMBER("pid")) },
	{ "daemon-pause", cmd_daemon_pause, (const struct key[]){ { 0 } } },
	{ 0 },
};
