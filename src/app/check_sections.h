/* check_sections.h - whether the sections of the configuration file lead somewhere on this
 * machine. */
#ifndef PENSIEVE_APP_CHECK_SECTIONS_H
#define PENSIEVE_APP_CHECK_SECTIONS_H

#include "app/app.h"

/* Prints a line for each, and what is wrong with it. No model is opened and no server is asked.
 * models: the folder's. false: something is. */
bool check_sections(const struct config *config, const struct models *models, struct arena *arena,
                    struct err *err);

#endif
