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
/* Which pages of a device: read by selection_make(). */
#define SELECTION TEXT("path"), NUMBER("lo"), NUMBER("hi"), NUMBER_OPT("pick"), NUMBER_OPT("pick_seed")
#define CONTENT TEXT("mix"), NUMBER("seed")

const struct command commands[] = {
	{ "hello", cmd_hello, (const struct key[]){ { 0 } } },
	{ "overhead", cmd_overhead, KEYS(NUMBER("samples")) },
	{ "loop-attach", cmd_loop_attach,
	  KEYS(TEXT("file"), NUMBER("size"), FLAG("direct"), NUMBER("block"), FLAG("allocate"), FLAG("pin")) },
	{ "loop-detach", cmd_loop_detach, KEYS(TEXT("file"), FLAG_OPT("remove")) },
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
	{ "write-timed", cmd_write_timed, KEYS(TEXT("path"), TEXT("value"), NUMBER_OPT("zram")) },
	{ "touch", cmd_touch,
	  KEYS(TEXT("name"), CHOICE("order", ORDER), NUMBER("seed"), TEXT("out"), NUMBER_OPT("pages"),
	       NUMBER_OPT("zram")) },
	{ 0 },
};
