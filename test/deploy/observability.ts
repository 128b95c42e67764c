/** The alerts and the dashboard of `deploy/`. */
import { readFileSync } from 'node:fs';
import { loadYaml } from '@kubernetes/client-node';

export const ALERTS = new URL(
  '../../deploy/prometheus/k8s-lock.rules.yaml',
  import.meta.url,
);
const DASHBOARD = new URL(
  '../../deploy/grafana/k8s-lock.json',
  import.meta.url,
);

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: {
    readonly summary: string;
    readonly description: string;
    readonly runbook_url: string;
  };
}

export interface Dashboard {
  /** In PromQL, with Grafana's variables. */
  readonly queries: readonly string[];
  readonly variables: readonly { metric: string; label: string }[];
}

export function readAlerts(): AlertRule[] {
  const { groups } = loadYaml<{ groups: { rules: AlertRule[] }[] }>(
    readFileSync(ALERTS, 'utf8'),
  );
  return groups.flatMap(({ rules }) => rules);
}

export function readDashboard(): Dashboard {
  const {
    panels,
    templating,
  }: {
    panels: { targets?: { expr: string }[] }[];
    templating: { list: { definition?: string }[] };
  } = JSON.parse(readFileSync(DASHBOARD, 'utf8'));
  return {
    queries: panels.flatMap(({ targets = [] }) =>
      targets.map(({ expr }) => expr),
    ),
    variables: templating.list.flatMap(({ definition = '' }) => {
      const [, metric, label] =
        /^label_values\((.+), (\w+)\)$/.exec(definition) ?? [];
      return metric && label ? [{ metric, label }] : [];
    }),
  };
}
