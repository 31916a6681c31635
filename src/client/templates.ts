import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  CallOptions,
  NewTemplate,
  PostOptions,
  PutTemplate,
  TemplatePage,
  TemplateWithVersions,
} from "./shapes.ts";

const TEMPLATES = "/api/templates";

/** Texts that accounts keep for their hunts. */
export interface TemplateCalls {
  /** Makes a template. Errors: `invalid_request`, `unknown_account`. */
  createTemplate(template: NewTemplate, options?: PostOptions): Promise<Result<PutTemplate>>;
  /** Gives a template its next version; the same text again is none. Errors: `invalid_request`, `not_found`. */
  putTemplate(templateId: string, template: NewTemplate, options?: CallOptions): Promise<Result<PutTemplate>>;
  /** A template of the account's with its versions. Errors: `not_found`. */
  template(accountId: string, templateId: string, options?: CallOptions): Promise<Result<TemplateWithVersions>>;
  /** One page of the account's templates, without those that are archived. Errors: `invalid_request`. */
  templates(
    filter: CallOptions & { accountId: string; cursor?: string | undefined; limit?: number | undefined },
  ): Promise<Result<TemplatePage>>;
  /** No hunt may use it from then on; those that were accepted go on. Errors: `not_found`. */
  archiveTemplate(
    accountId: string,
    templateId: string,
    options?: CallOptions,
  ): Promise<Result<{ templateId: string }>>;
}

export function templateCalls({ call, get, post }: Calls): TemplateCalls {
  return {
    createTemplate: (template, options) => post(TEMPLATES, template, options),
    putTemplate: (templateId, template, { signal } = {}) =>
      call({ method: "PUT", path: `${TEMPLATES}/${part(templateId)}`, body: template, signal }),
    template: (accountId, templateId, options) =>
      get(`${TEMPLATES}/${part(templateId)}${queryOf({ accountId })}`, options),
    templates: ({ signal, ...filter }) => get(`${TEMPLATES}${queryOf(filter)}`, { signal }),
    archiveTemplate: (accountId, templateId, { signal } = {}) =>
      call({ method: "DELETE", path: `${TEMPLATES}/${part(templateId)}${queryOf({ accountId })}`, signal }),
  };
}
