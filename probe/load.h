/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LOAD_H
#define PROBE_LOAD_H

#include "probe.h"

/* I/O priority of the calling thread, which its requests inherit: "default" or "realtime". */
int io_class_set(const char *name, struct reply *rep);

#endif
