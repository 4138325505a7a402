/* SPDX-License-Identifier: Apache-2.0 */
/* Pages out of the phone's own system files: programs, libraries, their tables and texts. */
#ifndef PROBE_FILES_H
#define PROBE_FILES_H

#include "probe.h"

/* Reads blocks of the phone's files, the first time that it is called; ENOENT where there are none. */
int files_load(struct reply *rep);
/* Fills a page with one of them; they must be loaded. */
void files_fill(uint64_t draw, void *out, size_t bytes);

#endif
