/** The alerts and the dashboard of `deploy/` name metrics that there are, and each alert leads to its section of docs/alerts.md. */
import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { METRIC } from '../../lib/telemetry/telemetry-names.js';
import { findAnchors, pages } from '../docs/pages.js';
import { readAlerts, readDashboard } from './observability.js';

const alerts = readAlerts();
const page = pages.find(({ path }) => path === 'docs/alerts.md')!;

/** The label that OpenTelemetry's exporter makes of the name of a lock. */
const NOT_METRICS = /^k8s_lock_(name|acquisition_outcome|request_verb)$/;

/** Without what the exporter adds to a counter or a histogram. */
const metricsIn = (text: string): string[] =>
  (text.match(/\bk8s_lock_\w+/g) ?? [])
    .filter((name) => !NOT_METRICS.test(name))
    .map((name) => name.replace(/_(total|bucket|count|sum)$/, ''));

const known: string[] = Object.values(METRIC).map((name) =>
  name.replaceAll('.', '_'),
);

describe.each(alerts)('$alert', ({ alert, expr, labels, annotations }) => {
  it('has a section that says what it means, what to look at and what to do', () => {
    const { href } = new URL(
      `blob/main/${page.path}#${alert.toLowerCase()}`,
      manifest.homepage.replace(/#.*/, '/'),
    );
    expect(annotations.runbook_url).toBe(href);
    expect(findAnchors(page)).toContain(alert.toLowerCase());
    const section = page.text.split(`## ${alert}\n`)[1]!.split('\n## ')[0];
    expect(section).toMatch(/\*\*It means\*\*[\s\S]*\*\*Look at\*\*/);
    expect(section).toMatch(/What to do|\*\*Then\*\*/);
  });

  it('says in one line what is wrong, and how bad it is', () => {
    expect(annotations.summary).toContain('$labels.k8s_namespace_name');
    expect(annotations.summary).not.toContain('\n');
    expect(annotations.description).toMatch(/\.$/);
    expect(['critical', 'warning']).toContain(labels.severity);
  });

  it('reads metrics that there are', () => {
    expect(metricsIn(expr)).not.toEqual([]);
    expect(known).toEqual(expect.arrayContaining(metricsIn(expr)));
  });
});

it('no section is about an alert that does not exist', () => {
  const sections = page.text.match(/(?<=^## )K8sLock\w+$/gm);
  expect(sections).toEqual(alerts.map(({ alert }) => alert));
});

it('the dashboard shows every metric, and no other', () => {
  const { queries, variables } = readDashboard();
  expect(variables).toHaveLength(2);
  const shown = new Set(queries.flatMap(metricsIn));
  expect([...shown].toSorted()).toEqual(known.toSorted());
});
