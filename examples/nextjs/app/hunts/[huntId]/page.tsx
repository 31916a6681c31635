import { LiveProgress } from "./live-progress.tsx";

interface Props {
  params: Promise<{ huntId: string }>;
  searchParams: Promise<{ contacts?: string }>;
}

/** `/hunts/<huntId>?contacts=<how many were accepted>` */
export default async function HuntPage({ params, searchParams }: Props) {
  const { huntId } = await params;
  const { contacts = "0" } = await searchParams;
  return (
    <main>
      <h1>Hunt</h1>
      <LiveProgress huntId={decodeURIComponent(huntId)} total={Number(contacts)} />
    </main>
  );
}
